"""How long a client is waited for: its one timer, lingering, the pace of a body.

Runs in: worker. What comes of a time that is over is client's to do, but for a body's.
"""

from libc.stdint cimport int64_t, uint64_t

from fastgate.dataplane.base.atomics cimport fg_bump32
from fastgate.dataplane.base.faults cimport FAULT_BODY_TIMEOUT, FAULT_BODY_TOO_SLOW
from fastgate.dataplane.base.memory cimport slab_give
from fastgate.dataplane.base.wheel cimport timer_idle, timer_set
from fastgate.dataplane.conn.conn cimport (
    DRAIN_HARD, FIN_READ, conn_close, conn_end, conn_find, conn_pace_at, conn_queue,
    conn_token,
)
from fastgate.dataplane.exchange.exchange cimport abandon
from fastgate.dataplane.exchange.sides cimport Exchange, takes_body
from fastgate.dataplane.h1.connections cimport MAX_LINGERERS, PHASE_LINGER, h1
from fastgate.dataplane.h1.idle cimport idle_remove
from fastgate.dataplane.h1.reader cimport reader_drop
from fastgate.dataplane.http.message cimport BODY_NONE

cdef enum:
    DRAIN_LINGER_MS = 1000      # the most of lingering_time in a worker that goes
    RATE_WINDOW_MS = 10000      # over which the minimum rate must be kept


# --- the timer, and the end ------------------------------------------------

cdef void client_rearm(Worker *w, H1Client *d) noexcept nogil:
    """One timer, set to whichever of the deadlines in force comes first."""
    cdef int64_t at = d.read_deadline_ms
    cdef int64_t pace_at
    if d.conn.blocked_ms:
        pace_at = conn_pace_at(w, &d.conn)
        if at == 0 or pace_at < at:
            at = pace_at
    if d.client.exchange is not NULL and d.client.exchange.deadline_ms and (
        at == 0 or d.client.exchange.deadline_ms < at
    ):
        at = d.client.exchange.deadline_ms
    if at:
        timer_set(&w.wheel, &d.conn.timer, at)
    else:
        timer_idle(&d.conn.timer)


cdef void client_close(Worker *w, H1Client *d, bint reset) noexcept nogil:
    """Close at once. Its exchange, if any, hears nothing of it."""
    if d.client.exchange is not NULL:
        d.client.exchange.client = NULL
        d.client.exchange = NULL
    idle_remove(w, d)
    conn_close(w, &d.conn, reset)
    reader_drop(&d.reader)
    fg_bump32(&w.row.connections, -1)
    slab_give(&h1(w).clients, d)


# --- lingering -------------------------------------------------------------

cdef void start_linger(Worker *w, H1Client *d) noexcept nogil:
    reader_drop(&d.reader)
    d.phase = PHASE_LINGER
    d.read_deadline_ms = 0
    conn_end(w, &d.conn)
    if d.conn.shut:
        wait_for_end(w, d)
    else:
        client_rearm(w, d)
    conn_queue(w, &d.conn)


cdef int64_t linger_deadline(Worker *w, const H1Client *d) noexcept nogil:
    cdef int64_t silent = d.last_read_ms + w.gateway.lingering_timeout_ms
    return silent if silent < d.linger_by_ms else d.linger_by_ms


cdef void wait_for_end(Worker *w, H1Client *d) noexcept nogil:
    """Our FIN is out: the client's is awaited from now on.

    Only so many may be waited for at a time; a newcomer takes the place of the one
    that has had the longest time to read its answer.
    """
    cdef uint64_t *place = &h1(w).lingerers[h1(w).next_lingerer]
    cdef H1Client *oldest = NULL
    if d.conn.peer_ended == FIN_READ or w.gateway.lingering_time_ms == 0:
        client_close(w, d, False)
        return
    if place[0]:
        oldest = <H1Client *>conn_find(w, place[0])
    if oldest is not NULL and oldest.phase == PHASE_LINGER:
        client_close(w, oldest, False)
    place[0] = conn_token(&d.conn)
    h1(w).next_lingerer = (h1(w).next_lingerer + 1) % MAX_LINGERERS
    d.linger_by_ms = w.now_ms + w.gateway.lingering_time_ms
    d.last_read_ms = w.now_ms
    if w.draining == DRAIN_HARD:
        hurry(w, d)
    d.read_deadline_ms = linger_deadline(w, d)
    client_rearm(w, d)


cdef void hurry(Worker *w, H1Client *d) noexcept nogil:
    if d.linger_by_ms > w.now_ms + DRAIN_LINGER_MS:
        d.linger_by_ms = w.now_ms + DRAIN_LINGER_MS


# --- a body ----------------------------------------------------------------

cdef void body_deadline(Worker *w, H1Client *d) noexcept nogil:
    """The body's idle time or rate window is over: judge, and open the next."""
    cdef Exchange *x = d.client.exchange
    cdef int64_t window = w.now_ms - x.rate_since_ms
    if d.reader.body_kind == BODY_NONE:
        d.read_deadline_ms = 0
        client_rearm(w, d)
        return
    if not takes_body(w, x):
        # It is us who do not read.
        d.last_read_ms = w.now_ms
        x.rate_since_ms = w.now_ms
        x.rate_bytes = 0
    elif w.now_ms - d.last_read_ms >= w.gateway.body_timeout_ms:
        abandon(w, x, FAULT_BODY_TIMEOUT)
        return
    elif w.gateway.min_rate and window >= RATE_WINDOW_MS:
        if x.rate_bytes * 1000 < w.gateway.min_rate * window:
            abandon(w, x, FAULT_BODY_TOO_SLOW)
            return
        x.rate_since_ms = w.now_ms
        x.rate_bytes = 0
    expect_body(w, d)


cdef void expect_body(Worker *w, H1Client *d) noexcept nogil:
    """Set the time by which the body must have gone on."""
    cdef int64_t at = d.last_read_ms + w.gateway.body_timeout_ms
    cdef int64_t window = d.client.exchange.rate_since_ms + RATE_WINDOW_MS
    d.read_deadline_ms = window if w.gateway.min_rate and window < at else at
    client_rearm(w, d)
