"""Words to the service manager, when there is one (sd_notify's protocol).

Runs in: master.
"""

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Send `READY=1`, `STOPPING=1` or the like to $NOTIFY_SOCKET, if set.

    Source: sd_notify(3). A manager that does not listen is no error.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    if path.startswith("@"):
        path = "\0" + path[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        sock.setblocking(False)
        sock.sendto(state.encode(), path)
