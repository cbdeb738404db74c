"""The channel between the master and one child: small messages.

Runs in: every process.

A SOCK_SEQPACKET pair keeps the edges of messages, and its end of file is how a
child learns that the master is gone. The master trusts no child: it reads one
message per wake-up, takes no descriptor but from the child that opens the logs, and
whatever is not a message ends the child. Only what the master says may be longer than
the eight bytes that it reads.
"""

import os
import socket
import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

# kind, logs, value: in the machine's own order, both ends being one program
_LAYOUT = struct.Struct("=HHI")
_MOST_VALUE = (1 << 32) - 1
# Behind LEAVE and RELOADED.
MOST_DATA_BYTES = 32 * 1024


class Kind(IntEnum):
    """What a message says. READY, LEFT and RELOAD go from a child to the master."""

    READY = 1  # the child serves
    DRAIN = 2  # finish what there is within `value` ms, then leave
    STOP = 3  # leave at once
    LOGS = 4  # the logs were reopened: their descriptors travel along
    LEFT = 5  # the child is done, and cut `value` exchanges
    LEAVE = 6  # as DRAIN, but softly; `data`: a byte for each socket, 1 = handed on
    RELOAD = 7  # the steward was asked for it
    RELOADED = 8  # it is done, `value` = 1, or refused; `data`: lines of text


_WITH_DATA = (Kind.LEAVE, Kind.RELOADED)


class Logs(IntFlag):
    """Which descriptors travel with LOGS, in this order."""

    NONE = 0
    ACCESS = 1
    ERROR = 2


class Message(NamedTuple):
    """One message; `value` is in ms where the kind has a time."""

    kind: Kind
    value: int = 0
    logs: Logs = Logs.NONE
    data: bytes = b""


class BadMessageError(Exception):
    """The other end sent what is no message."""


class ChannelClosedError(Exception):
    """The other end is gone."""


class Channel:
    """One end. `receive` and `send` never block."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end

    @staticmethod
    def pair() -> tuple["Channel", "Channel"]:
        """Make both ends: the master's, the child's."""
        first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return Channel(first), Channel(second)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, message: Message, fds: tuple[int, ...] = ()) -> bool:
        """Send; False when the other end is gone or has not read for long."""
        data = _LAYOUT.pack(message.kind, message.logs, min(message.value, _MOST_VALUE))
        data += message.data[:MOST_DATA_BYTES]
        try:
            if fds:
                socket.send_fds(self._socket, [data], list(fds))
            else:
                self._socket.send(data)
        except OSError:
            return False
        return True

    def receive(self) -> Message | None:
        """Read one message, refusing descriptors; None when there is none.

        Raises ChannelClosedError, BadMessageError.
        """
        try:
            # Without room for ancillary data the kernel drops what travels along.
            data = self._socket.recv(_LAYOUT.size + 1)
        except BlockingIOError:
            return None
        except OSError:
            raise ChannelClosedError from None
        return _parse(data)

    def receive_with_logs(self) -> tuple[Message, list[int]] | None:
        """Read one message, its data and the descriptors of its logs; None: none came.

        Raises ChannelClosedError, BadMessageError.
        """
        try:
            most = _LAYOUT.size + MOST_DATA_BYTES + 1
            data, fds, _, _ = socket.recv_fds(self._socket, most, 2)
        except BlockingIOError:
            return None
        except OSError:
            raise ChannelClosedError from None
        for fd in fds:
            os.set_inheritable(fd, False)
        try:
            return _parse_with(data, len(fds)), fds
        except (ChannelClosedError, BadMessageError):
            for fd in fds:
                os.close(fd)
            raise


def _parse_with(data: bytes, n_fds: int) -> Message:
    message = _parse(data)
    if n_fds != message.logs.bit_count():
        raise BadMessageError(f"{n_fds} descriptors for {message.logs!r}")
    return message


def _parse(data: bytes) -> Message:
    if not data:
        raise ChannelClosedError
    if not _LAYOUT.size <= len(data) <= _LAYOUT.size + MOST_DATA_BYTES:
        raise BadMessageError(f"{len(data)} bytes")
    kind, logs, value = _LAYOUT.unpack_from(data)
    more = data[_LAYOUT.size :]
    if more and kind not in _WITH_DATA:
        raise BadMessageError(f"{len(data)} bytes")
    if logs & ~int(Logs.ACCESS | Logs.ERROR):
        raise BadMessageError(f"logs {logs}")
    try:
        return Message(Kind(kind), value, Logs(logs), more)
    except ValueError:
        raise BadMessageError(f"kind {kind}") from None
