"""One request and its response, from the head to the log line. Runs in: worker.

conn/steps has the table of steps: who is awaited, for how long, and what a fault
leads to.

`deadline` and the client's own times (body, rate, send) hold in every step, but a
tunnel has no deadline: it is no answer that comes late.
Every path ends in finish(), exactly once: it settles what is still leased, counts,
writes the log line and gives the client connection back.

A fault goes to one of two places: upstream_fault() decides whether to try again,
abandon() ends the exchange by a reply or, when a byte of an answer is already
out, by a cut: what was read of it is delivered, and then the connection ends so
that it does not look whole (RFC 9112 section 8). Only a client that takes no more
is reset.

When a request may be sent again:
  - nothing of it was sent (no connection): always;
  - a connection from the pool ended before a byte of the answer came: the usual
    race with the endpoint's keep-alive. Once, on a new connection, if the method
    is idempotent (RFC 9110 section 9.2.2) and no body byte was sent. Not counted;
  - any other early end, of the head or of the body: the same condition, `retries`
    times, never to an endpoint that was tried, and within the retry budget.
Never when a byte of the answer is out: a client is given one answer. One that began
and ended in the same wake-up is still corked, and is taken back. Interim responses
are no part of it (RFC 9110 section 15.2): there may be any number.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memset, strlen

from fastgate.dataplane.balance.attempt cimport (
    Attempt, attempt_init, attempt_replay, attempt_try,
)
from fastgate.dataplane.balance.budget cimport budget_note_request
from fastgate.dataplane.balance.judge cimport (
    NO_MORE, REPLAY, RETRY, again, charge_retry, choose, note_answer, release_lease,
)
from fastgate.dataplane.balance.key cimport balancing_key
from fastgate.dataplane.balance.policies cimport NO_ENDPOINT, NO_ROOM, has_room
from fastgate.dataplane.balance.queue cimport wait, wait_no_more
from fastgate.dataplane.base.atomics cimport fg_bump, fg_bump32
from fastgate.dataplane.base.chance cimport random_id
from fastgate.dataplane.base.faults cimport (
    FAULT_AMBIGUOUS_PATH,
    FAULT_BODY_TOO_LARGE,
    FAULT_DRAINED,
    FAULT_HEAD_TOO_LARGE,
    FAULT_INTERNAL,
    FAULT_LOOP,
    FAULT_METHOD_UNKNOWN,
    FAULT_NONE,
    FAULT_NO_ENDPOINT,
    FAULT_QUEUE_FULL,
    FAULT_SEND_TIMEOUT,
    FAULT_SEND_TOO_SLOW,
    FAULT_UPSTREAM_BAD,
    SIDE_CLIENT,
    FaultInfo,
    fault_info,
)
from fastgate.dataplane.base.memory cimport (
    Bytes, bytes_append, bytes_drop, bytes_len, bytes_reserve, bytes_take, slab_give,
    slab_take,
)
from fastgate.dataplane.base.wheel cimport TIMER_EXCHANGE, timer_cancel, timer_set
from fastgate.dataplane.conn.conn cimport (
    Downstream,
    Exchange,
    ExchangeEvents,
    LIFE_BUSY,
    REQUEST_HEAD_BYTES,
    Upstream,
    Worker,
    cork_add,
    cork_push,
    cork_room,
    cork_take_back,
)
from fastgate.dataplane.conn.steps cimport (
    ENDING_CUT_BOTH,
    STEP_CONNECT,
    STEP_DONE,
    STEP_DRAIN,
    STEP_FORWARD,
    STEP_GATHER,
    STEP_PICK,
    STEP_QUEUED,
    STEP_RELAY,
    STEP_TUNNEL,
    step_info,
)
from fastgate.dataplane.exchange.record cimport (
    record_begin, record_end, record_failure, record_id, record_refused,
)
from fastgate.dataplane.exchange.routing cimport (
    REFUSAL_BYTES, find_route, judge_unknown_method, note_refused, put_refusal,
)
from fastgate.dataplane.h1.client cimport (
    downstream_close, downstream_next, downstream_side, downstream_tunnel,
)
from fastgate.dataplane.h1.origin cimport (
    upstream_bind, upstream_close, upstream_open, upstream_release, upstream_side,
)
from fastgate.dataplane.h1.write cimport REPLY_BYTES, write_reply, write_request
from fastgate.dataplane.http.message cimport (
    BODY_CHUNKED, BODY_COUNTED, BODY_NONE, BODY_RAW, H_EXPECT, Head, broke,
)
from fastgate.dataplane.http.outgoing cimport Framing, RequestFacts
from fastgate.dataplane.plan.route cimport RoutePlan
from fastgate.dataplane.plan.upstream cimport UpstreamPlan
from fastgate.dataplane.shared.slots cimport lease
from fastgate.dataplane.telemetry.incidents cimport INCIDENT_LOOP

cdef enum:
    MAX_INTERIMS = 100          # responses with status 1xx before the final one
    HEAD_USUAL_BYTES = 2048     # room for the request head as it goes upstream
    HEAD_KEPT_BYTES = 4096      # an exchange keeps a head buffer up to this size
    CLIENT_GONE = 499           # the status of faults that nobody is there to hear of

# --- beginning -------------------------------------------------------------

cdef Exchange *start(Worker *w, Downstream *d) noexcept nogil:
    """A fresh exchange for `d`, or NULL: no memory."""
    cdef Exchange *x = <Exchange *>slab_take(&w.exchanges)
    if x is NULL:
        return NULL
    x.client = d
    x.upstream = NULL
    x.client_ops = downstream_side()
    x.upstream_ops = upstream_side()
    x.timer.owner = TIMER_EXCHANGE
    attempt_init(&x.attempt)
    x.step = STEP_PICK
    x.fault = FAULT_NONE
    x.is_head = 0
    x.idempotent = 0
    x.minor = 1
    x.wants_tunnel = 0
    x.request_kind = BODY_NONE
    x.request_done = 0
    x.streams = 0
    x.body_sent = 0
    x.response_started = 0
    x.response_kind = BODY_NONE
    x.response_done = 0
    x.interims = 0
    x.status = 0
    x.route = -1
    x.other_route = -1
    x.deadline_ms = 0
    x.started_us = w.now_us
    x.forwarded_us = 0
    x.head_us = -1
    x.request_bytes = 0
    x.response_bytes = 0
    x.max_body_bytes = 0
    x.head.at = 0
    x.head.end = 0
    memset(&x.stash, 0, sizeof(x.stash))
    d.exchange = x
    fg_bump(&w.row.requests, 1)
    fg_bump32(&w.row.exchanges, 1)
    return x


cdef void request_refused(Worker *w, Downstream *d, int fault) noexcept nogil:
    """What the client sent is not a request that may go on."""
    cdef Exchange *x = start(w, d)
    if x is NULL:
        downstream_close(w, d, True)
        return
    record_refused(w, x)
    if fault == FAULT_METHOD_UNKNOWN:
        fault = judge_unknown_method(w, x, &w.request)
    abandon(w, x, fault)


cdef void request_head(Worker *w, Downstream *d) noexcept nogil:
    """w.request is a whole, valid head: route it, write it, send it on."""
    cdef Head *h = &w.request
    cdef Exchange *x = start(w, d)
    cdef const RoutePlan *plan
    cdef const UpstreamPlan *upstream_plan
    cdef int fault
    if x is NULL:
        downstream_close(w, d, True)
        return
    x.is_head = h.method_len == 4 and h.method_name[0] == b"H"
    x.idempotent = h.idempotent
    x.minor = h.minor
    x.wants_tunnel = h.upgrade
    x.request_done = not h.has_body
    if h.has_body:
        x.request_kind = BODY_CHUNKED if h.chunked else BODY_COUNTED
        x.rate_since_ms = w.now_ms
        x.rate_bytes = 0
    record_begin(w, x, h)

    fault = find_route(w, x, h)
    if fault:
        abandon(w, x, fault)
        return
    plan = &w.routes[x.route]
    x.attempt.upstream = plan.upstream
    x.max_body_bytes = plan.max_body_bytes
    if plan.deadline_ms:
        x.deadline_ms = w.now_ms + plan.deadline_ms
    if x.max_body_bytes and h.content_length > x.max_body_bytes:
        abandon(w, x, FAULT_BODY_TOO_LARGE)
        return
    x.attempt.key = balancing_key(
        w, plan.upstream, d.peer, d.peer_len, d.peer_trusted, h
    )
    fault = write_head(w, x, h)
    if fault:
        abandon(w, x, fault)
        return
    upstream_plan = &w.upstream_plans[plan.upstream]
    budget_note_request(
        &w.budgets[plan.upstream], upstream_plan.retry_budget_percent
    )
    # A client that waits for 100 Continue waits for the endpoint to say it.
    if (
        h.has_body
        and upstream_plan.buffer_request_bytes
        and h.field_of[<int>H_EXPECT] < 0
    ):
        x.step = STEP_GATHER
    else:
        dispatch(w, x, NO_ENDPOINT)


cdef int write_head(Worker *w, Exchange *x, const Head *h) noexcept nogil:
    """The request head as it goes upstream, kept for as long as it may be resent."""
    cdef Downstream *d = x.client
    cdef RequestFacts facts
    cdef char id[33]
    cdef ssize_t n
    random_id(&w.random, id)
    facts.peer = d.peer
    facts.peer_len = d.peer_len
    facts.peer_is_v6 = d.peer_is_v6
    facts.trusted = d.peer_trusted
    facts.local_port = w.listeners[d.listener].port
    facts.scheme = w.listeners[d.listener].scheme.at
    facts.scheme_len = w.listeners[d.listener].scheme.len
    facts.request_id = id
    facts.tunnel = x.wants_tunnel
    if not bytes_reserve(&x.head, HEAD_USUAL_BYTES):
        return FAULT_INTERNAL
    n = write_request(
        x.head.data, x.head.size, h, &w.routes[x.route].request, &facts
    )
    if n == -FAULT_HEAD_TOO_LARGE and bytes_reserve(&x.head, REQUEST_HEAD_BYTES):
        n = write_request(
            x.head.data, x.head.size, h, &w.routes[x.route].request, &facts
        )
    if n < 0:
        if n == -FAULT_LOOP:
            note_refused(w, x, h, INCIDENT_LOOP, FAULT_LOOP)
        return <int>-n
    x.head.end = <uint32_t>n
    record_id(w, x)
    return FAULT_NONE


# --- picking an endpoint ---------------------------------------------------

cdef void dispatch(Worker *w, Exchange *x, int endpoint) noexcept nogil:
    """Lease an endpoint and send it the request, or connect to it first.

    endpoint  chosen already; NO_ENDPOINT: choose one
    """
    cdef bint late = endpoint != NO_ENDPOINT or x.attempt.n_tried or x.attempt.replayed
    cdef Upstream *u = NULL
    cdef int fault
    if w.closing:
        abandon(w, x, FAULT_DRAINED)
        return
    if x.attempt.asked_us == 0:
        x.attempt.asked_us = w.now_us
        if w.queues[x.attempt.upstream].n:
            # A mark may have run out since the last look, or an endpoint come up.
            wake_queue(w, x.attempt.upstream)
    while True:
        x.step = STEP_PICK
        if endpoint == NO_ENDPOINT:
            endpoint = choose(w, &x.attempt)
        if endpoint == NO_ROOM:
            if wait(w, &x.attempt):
                x.step = STEP_QUEUED
                timer_set(
                    &w.wheel, &x.timer,
                    w.now_ms + w.upstream_plans[x.attempt.upstream].queue_timeout_ms,
                )
            else:
                abandon(w, x, FAULT_QUEUE_FULL)
            return
        if endpoint == NO_ENDPOINT:
            abandon(w, x, x.fault if x.fault else FAULT_NO_ENDPOINT)
            return
        if x.attempt.retry_due and not charge_retry(w, &x.attempt):
            abandon(w, x, x.fault)
            return
        lease(w.shared, w.slot, endpoint)
        attempt_try(&x.attempt, endpoint)
        fault = upstream_open(w, x, endpoint, &u)
        if fault == FAULT_NONE:
            upstream_bind(w, u, x)
            if u.life == LIFE_BUSY:
                forward(w, x)
                if late and not x.request_done:
                    # The body was left unread while there was nowhere to put it.
                    x.client_ops.resume(w, x)
            else:
                x.step = STEP_CONNECT
            return
        record_failure(w, x, fault)
        release_lease(w, &x.attempt, fault, False)
        endpoint = NO_ENDPOINT
        if try_again(w, x, fault, False) == NO_MORE:
            abandon(w, x, fault)
            return


# --- waiting for a connection ----------------------------------------------

cdef void wake_queue(Worker *w, int upstream) noexcept nogil:
    """Connections came free: whom they fit gets them, the oldest first.

    Who has tried the endpoint that has room goes on waiting, and who stands behind
    is served; but whom nothing fits that has tried nothing, nobody is better off.
    A waiter whose endpoint refuses at once ends in abandon(), which comes here
    again: the flag makes that a turn of this loop and not a recursion.
    """
    cdef Attempt *a = w.queues[upstream].first
    cdef Exchange *x
    cdef int endpoint
    if w.waking or w.closing:
        return
    w.waking = 1
    while a is not NULL and has_room(&w.groups[upstream]):
        endpoint = choose(w, a)
        if endpoint == NO_ROOM:
            a = a.next if a.n_tried else NULL
            continue
        x = <Exchange *>(<char *>a - <size_t>&(<Exchange *>NULL).attempt)
        leave_queue(w, x)
        if endpoint == NO_ENDPOINT:
            abandon(w, x, x.fault if x.fault else FAULT_NO_ENDPOINT)
        else:
            dispatch(w, x, endpoint)
        a = w.queues[upstream].first
    w.waking = 0


cdef void leave_queue(Worker *w, Exchange *x) noexcept nogil:
    wait_no_more(w, &x.attempt)
    timer_cancel(&w.wheel, &x.timer)
    x.step = STEP_PICK


cdef void exchange_timer(Worker *w, Exchange *x) noexcept nogil:
    abandon(w, x, step_info(x.step).late)


# --- the request goes upstream ---------------------------------------------

cdef void forward(Worker *w, Exchange *x) noexcept nogil:
    """Send the head, and what STEP_GATHER has of the body."""
    cdef Bytes held
    x.step = STEP_FORWARD
    x.fault = FAULT_NONE    # of an earlier try
    x.attempt.os_error = 0
    x.streams = not x.request_done
    x.forwarded_us = w.now_us
    x.upstream_ops.head(w, x, NULL)
    if bytes_len(&x.body):
        held = bytes_take(&x.body)
        x.body_sent = 1
        x.upstream_ops.body(w, x, held.data + held.at, bytes_len(&held))
        bytes_drop(&held)
    if x.request_done:
        x.upstream_ops.end(w, x)


cdef void upstream_ready(Worker *w, Exchange *x) noexcept nogil:
    """Connected: the request goes out, and its body may come in."""
    forward(w, x)
    if not x.request_done:
        x.client_ops.resume(w, x)


cdef void request_body(Worker *w, Exchange *x, char *data, size_t n) noexcept nogil:
    x.request_bytes += <int64_t>n
    x.rate_bytes += <int64_t>n
    if (
        x.max_body_bytes and x.request_bytes > x.max_body_bytes
        and x.step != STEP_TUNNEL
    ):
        abandon(w, x, FAULT_BODY_TOO_LARGE)
        return
    if x.step == STEP_GATHER:
        gather(w, x, data, n)
        return
    x.body_sent = 1
    x.upstream_ops.body(w, x, data, n)


cdef void gather(Worker *w, Exchange *x, const char *data, size_t n) noexcept nogil:
    """Keep what of the body came; at buffer_request the rest has to stream."""
    cdef const UpstreamPlan *plan = &w.upstream_plans[x.attempt.upstream]
    if not bytes_append(&x.body, data, n):
        abandon(w, x, FAULT_INTERNAL)
    elif bytes_len(&x.body) >= plan.buffer_request_bytes:
        dispatch(w, x, NO_ENDPOINT)


cdef void request_end(Worker *w, Exchange *x) noexcept nogil:
    x.request_done = 1
    if x.step == STEP_GATHER:
        dispatch(w, x, NO_ENDPOINT)
        return
    if x.upstream is not NULL and x.step != STEP_CONNECT:
        x.upstream_ops.end(w, x)
    if x.step == STEP_TUNNEL:
        end_tunnel(w, x)


cdef void upstream_flushed(Worker *w, Exchange *x) noexcept nogil:
    if x.step == STEP_TUNNEL and x.request_done:
        end_tunnel(w, x)
    elif not x.request_done:
        x.client_ops.resume(w, x)


# --- the response comes back -----------------------------------------------

cdef void response_head(Worker *w, Exchange *x) noexcept nogil:
    """w.response is a head: interim, a tunnel's grant, or the final one."""
    cdef Head *h = &w.response
    cdef Framing framing
    cdef int fault
    framing.content_length = -1
    framing.chunked = 0
    framing.bodiless = 1
    framing.close = 0
    framing.client_minor = x.minor
    framing.tunnel = 0
    if h.status < 200 and h.status != 101:
        x.interims += 1
        if x.interims > MAX_INTERIMS:
            upstream_fault(
                w, x, broke(
                    h, FAULT_UPSTREAM_BAD, "more than 100 interim answers", h.start
                ),
            )
        elif x.minor:
            fault = x.client_ops.head(w, x, &framing)
            if fault:
                upstream_fault(w, x, fault)
            else:
                cork_push(w)
        return

    # Before the end of the request no other protocol may begin (RFC 9110 section
    # 7.8): a 101 that comes earlier is no answer to it.
    if h.status == 101 and not (x.wants_tunnel and h.upgrade and x.request_done):
        upstream_fault(
            w, x, broke(h, FAULT_UPSTREAM_BAD, "a 101 that nobody asked for", h.start)
        )
        return
    x.head_us = w.now_us - x.forwarded_us
    # Where the head went ahead of a body that streams, the time is the client's doing.
    note_answer(w, &x.attempt, -1 if x.streams else x.head_us)
    if h.status == 101:
        framing.tunnel = 1
    elif x.is_head or h.status == 204 or h.status == 304:
        x.response_kind = BODY_NONE
    else:
        framing.bodiless = 0
        if not h.chunked and h.content_length >= 0:
            framing.content_length = h.content_length
            x.response_kind = BODY_COUNTED
        elif x.minor:
            framing.chunked = 1
            x.response_kind = BODY_CHUNKED
        else:
            # HTTP/1.0 knows an end without a length only as the connection's.
            x.response_kind = BODY_RAW
            x.client.close_after = 1
    if not framing.tunnel:
        if not x.request_done or w.draining or hopes(x):
            # What the client still sends is not the beginning of another request.
            x.client.close_after = 1
        framing.close = x.client.close_after
    if w.cork_of is &x.client.conn:
        cork_push(w)
    x.client.conn.spoke = 0
    fault = x.client_ops.head(w, x, &framing)
    if fault:
        upstream_fault(w, x, fault)
        return
    x.status = h.status
    x.response_started = 1
    if framing.tunnel:
        x.step = STEP_TUNNEL
        x.request_kind = BODY_RAW
        x.response_kind = BODY_RAW
        x.request_done = 0
        # What was asked for has been answered: a tunnel lasts as it likes.
        x.deadline_ms = 0
        timer_set(
            &w.wheel, &x.upstream.conn.timer,
            w.now_ms + w.upstream_plans[x.attempt.upstream].tunnel_timeout_ms,
        )
        downstream_tunnel(w, x.client)
    else:
        x.step = STEP_RELAY


cdef bint hopes(const Exchange *x) noexcept nogil:
    """Has the client sent something in hope of a tunnel? It is no request then."""
    return x.wants_tunnel and (
        x.client.conn.readable or bytes_len(&x.client.reader.kept) != 0
    )


cdef void response_body(Worker *w, Exchange *x, char *data, size_t n) noexcept nogil:
    x.response_bytes += <int64_t>n
    x.client_ops.body(w, x, data, n)


cdef void response_end(Worker *w, Exchange *x) noexcept nogil:
    """The upstream has said all: let it go, then see the client off."""
    cdef int upstream = x.attempt.upstream
    x.response_done = 1
    if x.step == STEP_TUNNEL:
        x.client_ops.end(w, x)
        end_tunnel(w, x)
        return
    upstream_release(w, x)
    release_lease(w, &x.attempt, FAULT_NONE, False)
    x.step = STEP_DRAIN
    x.client_ops.end(w, x)
    if bytes_len(&x.client.conn.output) == 0 and not x.client.conn.broken:
        finish(w, x)
    wake_queue(w, upstream)


cdef void client_flushed(Worker *w, Exchange *x) noexcept nogil:
    """The client took what was queued for it."""
    if x.step == STEP_DRAIN:
        if bytes_len(&x.client.conn.output) == 0:
            finish(w, x)
    elif x.step == STEP_TUNNEL and x.response_done:
        end_tunnel(w, x)
    else:
        x.upstream_ops.resume(w, x)


cdef void end_tunnel(Worker *w, Exchange *x) noexcept nogil:
    """A tunnel is over when both sides have ended and all of it is delivered."""
    cdef int upstream = x.attempt.upstream
    if (
        x.request_done
        and x.response_done
        and bytes_len(&x.client.conn.output) == 0
        and bytes_len(&x.upstream.conn.output) == 0
        and not x.client.conn.broken
        and not x.upstream.conn.broken
    ):
        cork_push(w)
        upstream_close(w, x.upstream, False)
        release_lease(w, &x.attempt, FAULT_NONE, False)
        finish(w, x)
        wake_queue(w, upstream)


# --- faults ----------------------------------------------------------------

cdef int try_again(Worker *w, Exchange *x, int fault, bint stale) noexcept nogil:
    """What follows on a try that `fault` has ended: see again() in judge.pyx."""
    cdef int sequel = again(
        &x.attempt, fault, w.upstream_plans[x.attempt.upstream].retries,
        x.response_started or x.client is NULL,
        x.idempotent and not x.body_sent and not x.wants_tunnel, stale,
    )
    if sequel == RETRY:
        x.fault = <uint8_t>fault
        x.attempt.retry_due = 1
    return sequel


cdef void upstream_fault(Worker *w, Exchange *x, int fault) noexcept nogil:
    """The upstream failed this exchange: replay it, retry it, or end it."""
    cdef Upstream *u = x.upstream
    cdef int upstream = x.attempt.upstream
    cdef bint stale = u is not NULL and u.reused and not u.answered
    cdef int sequel
    x.upstream_ops.reset(w, x)
    take_back(w, x)
    sequel = try_again(w, x, fault, stale)
    if sequel == REPLAY:
        # The endpoint is as good as before; only the connection was old.
        release_lease(w, &x.attempt, FAULT_NONE, False)
        attempt_replay(&x.attempt)
    else:
        record_failure(w, x, fault)
        release_lease(w, &x.attempt, fault, x.step == STEP_TUNNEL)
        if sequel == NO_MORE:
            abandon(w, x, fault)
            return
    dispatch(w, x, NO_ENDPOINT)
    # Its first endpoint has a connection less.
    wake_queue(w, upstream)


cdef void client_fault(Worker *w, Exchange *x, int fault) noexcept nogil:
    """The client, or a time that is kept for it, ends the exchange."""
    abandon(w, x, fault)


cdef void abandon(Worker *w, Exchange *x, int fault) noexcept nogil:
    """End `x` by `fault`: by a reply if one can still be given, else by a cut."""
    cdef const FaultInfo *info = fault_info(fault)
    cdef int upstream = x.attempt.upstream
    x.fault = <uint8_t>fault
    if x.step == STEP_QUEUED:
        leave_queue(w, x)
    if step_info(x.step).ending == ENDING_CUT_BOTH:
        x.upstream_ops.cut(w, x)
    else:
        x.upstream_ops.reset(w, x)
    release_lease(w, &x.attempt, fault, x.step == STEP_TUNNEL)
    take_back(w, x)
    if x.client is not NULL:
        if (
            fault == FAULT_SEND_TIMEOUT or fault == FAULT_SEND_TOO_SLOW
            or x.client.conn.broken
        ):
            x.client_ops.reset(w, x)
        elif x.response_started or info.status == CLIENT_GONE:
            # Whoever ended only its own side may still be reading.
            x.client_ops.cut(w, x)
    if x.client is NULL:
        finish(w, x)
    else:
        reply(w, x, info)
    if upstream >= 0:
        wake_queue(w, upstream)


cdef void take_back(Worker *w, Exchange *x) noexcept nogil:
    """As if the answer had not begun, if none of it has left the cork yet."""
    if x.response_started and x.client is not NULL and not x.client.conn.spoke:
        fg_bump(&w.row.bytes_out, -<int64_t>cork_take_back(w, &x.client.conn))
        x.response_started = 0
        x.response_kind = BODY_NONE
        x.response_bytes = 0
        x.head_us = -1
        x.status = 0


cdef void exchange_abandon(Worker *w, Exchange *x, int fault) noexcept nogil:
    """For the engine, when it must close with exchanges still on."""
    abandon(w, x, fault)


cdef void reply(Worker *w, Exchange *x, const FaultInfo *info) noexcept nogil:
    """Our own answer, short and plain."""
    cdef Downstream *d = x.client
    cdef char refusal[REFUSAL_BYTES]
    cdef const char *text = info.text
    cdef char *room
    cdef ssize_t n
    if x.fault == FAULT_AMBIGUOUS_PATH:
        put_refusal(w, x, refusal)
        text = refusal
    if info.side == SIDE_CLIENT or not x.request_done or hopes(x):
        # Where the client's next request would begin is not known.
        d.close_after = 1
    if w.draining:
        d.close_after = 1
    room = cork_room(w, &d.conn, REPLY_BYTES)
    n = write_reply(
        room, REPLY_BYTES, info.status, text,
        w.gateway.server_header.at, w.gateway.server_header.len, w.clock.http_date,
        w.listeners[d.listener].allow.at, d.close_after, x.is_head,
    )
    if n < 0:
        x.client_ops.reset(w, x)
        finish(w, x)
        return
    cork_add(w, <size_t>n)
    cork_push(w)
    fg_bump(&w.row.bytes_out, n)
    x.status = <uint16_t>info.status
    x.response_started = 1
    x.response_bytes = 0 if x.is_head else <int64_t>strlen(text) + 5
    if bytes_len(&d.conn.output):
        x.step = STEP_DRAIN
    else:
        finish(w, x)


# --- the end ---------------------------------------------------------------

cdef void finish(Worker *w, Exchange *x) noexcept nogil:
    """Every exchange ends here, exactly once."""
    cdef Downstream *d = x.client
    x.step = STEP_DONE
    release_lease(w, &x.attempt, FAULT_NONE, False)
    record_end(w, x)
    timer_cancel(&w.wheel, &x.timer)
    bytes_drop(&x.stash.bytes)
    bytes_drop(&x.body)
    if x.head.size > HEAD_KEPT_BYTES:
        bytes_drop(&x.head)
    x.client = NULL
    slab_give(&w.exchanges, x)
    if d is not NULL:
        downstream_next(w, d)


cdef ExchangeEvents EVENTS
EVENTS.request_head = request_head
EVENTS.request_refused = request_refused
EVENTS.request_body = request_body
EVENTS.request_end = request_end
EVENTS.client_fault = client_fault
EVENTS.client_flushed = client_flushed
EVENTS.upstream_ready = upstream_ready
EVENTS.response_head = response_head
EVENTS.response_body = response_body
EVENTS.response_end = response_end
EVENTS.upstream_fault = upstream_fault
EVENTS.upstream_flushed = upstream_flushed
EVENTS.upstream_room = wake_queue


cdef const ExchangeEvents *exchange_events() noexcept nogil:
    return &EVENTS
