"""The table of steps, and the steps of what is on. Runs in: tests only."""

from libc.stdint cimport uint32_t

from fastgate.dataplane.base cimport faults
from fastgate.dataplane.base.memory cimport slab_at
from fastgate.dataplane.exchange cimport steps
from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.exchange.sides cimport Exchange
from fastgate.dataplane.engine.engine cimport Engine

AWAITED = {
    steps.AWAITS_NOBODY: None,
    steps.AWAITS_CLIENT: "client",
    steps.AWAITS_ROOM: "room",
    steps.AWAITS_TIME: "time",
    steps.AWAITS_ENDPOINT: "endpoint",
    steps.AWAITS_EITHER: "either",
}
ENDINGS = {
    steps.ENDING_NONE: None,
    steps.ENDING_REPLY: "reply",
    steps.ENDING_AGAIN: "again",
    steps.ENDING_CUT: "cut",
    steps.ENDING_CUT_BOTH: "cut both",
    steps.ENDING_RESET: "reset",
}


cdef dict describe(const steps.StepInfo *info):
    cdef const faults.FaultInfo *late = faults.fault_info(info.late)
    return {
        "awaited": AWAITED[info.awaited],
        "setting": None if info.setting is NULL else info.setting.decode(),
        "late": late.reason.decode() if info.late else None,
        "status": late.status,
        "ending": ENDINGS[info.ending],
        "passes_fin": bool(info.passes_fin),
    }


def table():
    """The rows by name, in the order of the steps; each step must have one."""
    cdef int i
    for i in range(steps.STEP_COUNT):
        if steps.step_info(i).name is NULL:
            raise AssertionError(f"step {i} has no row")
    return {
        steps.step_info(i).name.decode(): describe(steps.step_info(i))
        for i in range(steps.STEP_COUNT)
    }


def steps_of(Engine engine):
    """The names of the steps in which exchanges are."""
    cdef Worker *w = engine.w
    cdef Exchange *x
    cdef uint32_t i
    names = []
    for i in range(w.exchanges.made):
        x = <Exchange *>slab_at(&w.exchanges, i)
        if x.item.is_live:
            names.append(steps.step_info(x.step).name.decode())
    return names
