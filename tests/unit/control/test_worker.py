"""How a worker leaves: its loop over a real engine, in this process."""

import gc
import os
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from support.lab import OK, Lab, request

from fastgate.control.channel import Channel, Kind, Message
from fastgate.control.worker import Worker


@pytest.fixture
def leave(log):
    """Let a worker run that was told to leave at once."""
    log.check = lambda: None
    with ExitStack() as at_exit:

        def left(lab):
            at_exit.callback(lab.close)
            ours, theirs = Channel.pair()
            at_exit.callback(ours.close)
            at_exit.callback(theirs.close)
            worker = Worker(
                "worker 0",
                0,
                lab.region,
                theirs,
                log,
                drain_ms=1000,
                flush_ms=60_000,
                sockets=[lab.listener],
                values=SimpleNamespace(
                    upstreams=[
                        {"name": "main", "endpoints": [{"address": "127.0.0.1:9"}]}
                    ]
                ),
            )
            ours.send(Message(Kind.STOP))
            worker.run(lambda: lab.engine)

        yield left
        gc.unfreeze()


def test_a_worker_that_leaves_keeps_no_socket_that_clients_could_wait_at(leave):
    lab = Lab()
    leave(lab)

    # Its process may be there for long yet, held by a dead log disk.
    assert lab.listener.fileno() == -1


def test_a_worker_that_leaves_tells_of_the_lines_that_its_log_lost_last(leave, log):
    lab = Lab(log_fd=os.open("/dev/full", os.O_WRONLY))
    client, service = lab.ask(request())
    service.sendall(OK)
    lab.read(client, OK[-2:])
    leave(lab)

    text = "worker 0: access log: 1 line was lost until it was closed"
    assert log.lines == [("warning", text)]
