"""Incidents of traffic, rate-limited and bounded. Runs in: worker.

A meter is a leaky bucket (GCRA): it may run ahead of RATE_MS a note by a burst. Where
it may not, the newest incident stays in the meter with the count of those like it, and
goes out by itself when its time has come.
"""

from libc.stdlib cimport calloc
from libc.string cimport memcpy

cdef enum:
    PROBES = 8                  # meters that one key may stand in


cdef Incidents *incidents_make() except NULL:
    """An empty ring; free() it. Raises MemoryError."""
    cdef Incidents *all = <Incidents *>calloc(1, sizeof(Incidents))
    if all is NULL:
        raise MemoryError("incidents")
    return all


cdef bint is_alike(const Incident *a, const Incident *b) noexcept nogil:
    return (
        a.kind == b.kind and a.endpoint == b.endpoint
        and a.listener == b.listener and a.route == b.route and a.fault == b.fault
    )


cdef Meter *meter_of(
    Incidents *all, int64_t now_ms, const Incident *what
) noexcept nogil:
    """The meter of incidents like `what`, a fresh one if need be; NULL: no room.

    A meter that holds nothing back and whose burst is whole remembers nothing.
    """
    cdef uint32_t hash = <uint32_t>what.endpoint * 0x9E3779B1U
    cdef Meter *meter
    cdef Meter *fresh = NULL
    cdef int i
    hash ^= <uint32_t>what.listener * 0x85EBCA77U
    hash ^= <uint32_t>what.route * 0x27D4EB2FU
    hash ^= <uint32_t>(what.kind * 64 + what.fault) * 0xC2B2AE3DU
    for i in range(PROBES):
        meter = &all.meters[((hash >> 16) + <uint32_t>i) % METERS]
        if meter.full_ms and is_alike(&meter.last.what, what):
            return meter
        if fresh is NULL and meter.full_ms <= now_ms and meter.last.held == 0:
            fresh = meter
    if fresh is not NULL:
        fresh.full_ms = now_ms
        fresh.last.held = 0
    return fresh


cdef bint may_note(
    const Incidents *all, Meter *meter, int64_t now_ms
) noexcept nogil:
    """Take one note's worth from the meter, if it and the ring have room."""
    cdef int64_t full_ms = max(meter.full_ms, now_ms) + RATE_MS
    if all.count == RING_INCIDENTS or full_ms > now_ms + BURST_INCIDENTS * RATE_MS:
        return False
    meter.full_ms = full_ms
    return True


cdef Noted *push(Incidents *all) noexcept nogil:
    all.count += 1
    return &all.ring[(all.first + all.count - 1) % RING_INCIDENTS]


cdef void fill(Noted *into, const Incident *what) noexcept nogil:
    into.what = what[0]
    into.what.line = NULL
    into.what.line_len = min(what.line_len, <uint32_t>LINE_BYTES)
    if what.line is NULL:
        into.what.line_len = 0
    else:
        memcpy(into.line, what.line, into.what.line_len)


cdef void incident_note(
    Incidents *all, int64_t now_ms, const Incident *what
) noexcept nogil:
    """Note what happened, or hold it back where there were many like it.

    now_ms  CLOCK_MONOTONIC, above 0
    what    its line is borrowed for the call and copied up to LINE_BYTES
    """
    cdef Meter *meter = meter_of(all, now_ms, what)
    cdef Noted *noted
    if meter is NULL:
        all.lost += 1
        return
    if may_note(all, meter, now_ms):
        noted = push(all)
        fill(noted, what)
        noted.held = meter.last.held
        all.holding -= meter.last.held > 0
        meter.last.held = 0
        meter.last.what = noted.what
        return
    all.holding += meter.last.held == 0
    meter.last.held += 1
    fill(&meter.last, what)


cdef void incidents_release(
    Incidents *all, int64_t now_ms, bint leaving
) noexcept nogil:
    """Note the newest of those held back, where their time has come.

    leaving  of all of them, as far as the ring has room: there is no other time
    """
    cdef Meter *meter
    cdef Noted *noted
    cdef int i
    if all.holding == 0:
        return
    for i in range(METERS):
        meter = &all.meters[i]
        if meter.last.held == 0:
            continue
        if may_note(all, meter, now_ms) or (leaving and all.count < RING_INCIDENTS):
            noted = push(all)
            noted[0] = meter.last
            noted.held = meter.last.held - 1
            meter.last.held = 0
            all.holding -= 1


cdef bint incident_take(Incidents *all, Noted *out) noexcept nogil:
    """Move the oldest noted one to `out`; False: there is none."""
    if all.count == 0:
        return False
    out[0] = all.ring[all.first]
    all.first = (all.first + 1) % RING_INCIDENTS
    all.count -= 1
    return True
