import os
import socket

import pytest

from fastgate.control.channel import (
    MOST_DATA_BYTES,
    BadMessageError,
    Channel,
    ChannelClosedError,
    Kind,
    Logs,
    Message,
)


@pytest.fixture
def pair():
    master, child = Channel.pair()
    yield master, child
    master.close()
    child.close()


@pytest.fixture
def raw():
    """The master's channel, and the child's end as a bare socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


def test_messages_keep_their_edges(pair):
    master, child = pair
    master.send(Message(Kind.DRAIN, 30_000))
    master.send(Message(Kind.STOP))

    assert child.receive() == Message(Kind.DRAIN, 30_000)
    assert child.receive() == Message(Kind.STOP)
    assert child.receive() is None


def test_descriptors_travel_with_logs(pair):
    master, child = pair
    reader, writer = os.pipe()
    master.send(Message(Kind.LOGS, logs=Logs.ERROR), (writer,))
    message, (received,) = child.receive_with_logs()
    os.write(received, b"x")

    assert message.logs == Logs.ERROR
    assert os.read(reader, 1) == b"x"
    assert not os.get_inheritable(received)
    for fd in (reader, writer, received):
        os.close(fd)


def test_the_other_end_closed_is_told(pair):
    master, child = pair
    master.close()

    with pytest.raises(ChannelClosedError):
        child.receive()
    assert child.send(Message(Kind.READY)) is False


def test_a_child_that_does_not_read_never_blocks_the_master(pair):
    master, _child = pair
    sent = 0
    while master.send(Message(Kind.STOP)):
        sent += 1

    assert sent > 10


@pytest.mark.parametrize(
    "data",
    [b"x", b"\x01\0\0\0\0\0\0", b"\x01" + b"\0" * 8, b"\xff" * 8, b"\0" * 8],
    ids=["one byte", "short", "long", "unknown", "zero"],
)
def test_what_is_no_message_is_refused(raw, data):
    channel, child = raw
    child.send(data)

    with pytest.raises(BadMessageError):
        channel.receive()


def test_descriptors_of_a_message_that_is_refused_are_closed(raw):
    channel, child = raw
    reader, writer = os.pipe()
    socket.send_fds(child, [b"\x01" + b"\0" * 7], [writer])
    os.close(writer)

    with pytest.raises(BadMessageError):
        channel.receive_with_logs()
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_descriptors_from_a_child_are_dropped(raw):
    channel, child = raw
    reader, writer = os.pipe()
    socket.send_fds(child, [b"\x01" + b"\0" * 7], [writer])
    os.close(writer)

    assert channel.receive() == Message(Kind.READY)
    assert os.read(reader, 1) == b""  # no copy of the writer is left anywhere
    os.close(reader)


def test_what_the_master_says_may_be_long(pair):
    master, child = pair
    told = Message(Kind.RELOADED, 1, data=b"x" * MOST_DATA_BYTES)
    master.send(told)

    assert child.receive_with_logs() == (told, [])


def test_a_child_that_says_more_than_eight_bytes_is_not_heard(pair):
    master, child = pair
    child.send(Message(Kind.RELOADED, 1, data=b"x" * 100))

    # The rest of it is gone, and it is no word of a child's.
    assert master.receive().kind is Kind.RELOADED
    assert master.receive() is None


def test_only_messages_that_have_it_take_data(raw):
    channel, child = raw
    child.send(b"\x01" + b"\0" * 7 + b"more")

    with pytest.raises(BadMessageError, match="12 bytes"):
        channel.receive_with_logs()
