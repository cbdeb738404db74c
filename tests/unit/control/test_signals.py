import os
import select
import signal

from fastgate.control.signals import MASTER_SIGNALS, SignalQueue, held_signals, name_of


def test_signals_are_queued_in_order():
    queue = SignalQueue()
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    is_readable = bool(select.select([queue], [], [], 0)[0])
    taken = queue.take()
    empty = queue.take()
    queue.close()

    assert is_readable
    assert taken == [signal.SIGHUP, signal.SIGTERM]
    assert empty == []


def test_closing_puts_back_what_was_there():
    before = [signal.getsignal(number) for number in MASTER_SIGNALS]
    SignalQueue().close()

    assert [signal.getsignal(number) for number in MASTER_SIGNALS] == before


def test_held_signals_arrive_afterwards():
    queue = SignalQueue()
    with held_signals():
        os.kill(os.getpid(), signal.SIGUSR1)
        during = queue.take()
    after = queue.take()
    queue.close()

    assert during == []
    assert after == [signal.SIGUSR1]


def test_names():
    assert name_of(9) == "SIGKILL"
    assert name_of(999) == "signal 999"
