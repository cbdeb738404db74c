"""One request and its response, from the head to the log line. Runs in: worker.

steps.pyx has the table of steps: who is awaited, for how long, and what a fault
leads to.

`deadline` and the client's own times (body, rate, send) hold in every step, but a
tunnel has no deadline: it is no answer that comes late.
Every path ends in finish(), exactly once: it settles what is still leased, counts,
writes the log line and gives the client connection back.

A fault goes to one of two places: origin_fault() tries again where again.pyx says so,
abandon() ends the exchange by a reply or, when a byte of an answer is already
out, by a cut: what was read of it is delivered, and then the connection ends so
that it does not look whole (RFC 9112 section 8). Only a client that takes no more
is reset.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t
from libc.string cimport memset

from fastgate.dataplane.balance.attempt cimport (
    DUE_NOT, Attempt, attempt_init, attempt_replay, attempt_try,
)
from fastgate.dataplane.balance.budget cimport budget_note_request
from fastgate.dataplane.balance.judge cimport choose, note_answer, release_lease
from fastgate.dataplane.balance.key cimport balancing_key
from fastgate.dataplane.balance.policies cimport NO_ENDPOINT, NO_ROOM, has_room
from fastgate.dataplane.balance.queue cimport (
    look_again, queue_of, wait, wait_no_more,
)
from fastgate.dataplane.balance.retry cimport NO_MORE, REPLAY, charge_retry
from fastgate.dataplane.base.atomics cimport fg_bump, fg_bump32
from fastgate.dataplane.base.chance cimport random_id
from fastgate.dataplane.base.faults cimport (
    FAULT_AMBIGUOUS_PATH,
    FAULT_BODY_TOO_LARGE,
    FAULT_DRAINED,
    FAULT_INTERNAL,
    FAULT_LOOP,
    FAULT_METHOD_UNKNOWN,
    FAULT_NONE,
    FAULT_NO_ENDPOINT,
    FAULT_QUEUE_FULL,
    FAULT_SEND_TIMEOUT,
    FAULT_SEND_TOO_SLOW,
    FAULT_UPSTREAM_BAD,
    FAULT_UPSTREAM_STATUS,
    SIDE_CLIENT,
    FaultInfo,
    fault_info,
)
from fastgate.dataplane.base.memory cimport (
    Bytes, bytes_append, bytes_drop, bytes_len, bytes_take, slab_give, slab_take,
)
from fastgate.dataplane.base.wheel cimport (
    TIMER_EXCHANGE, Timer, timer_cancel, timer_set,
)
from fastgate.dataplane.exchange.again cimport (
    answer_fails, may_repeat, pause, try_again,
)
from fastgate.dataplane.exchange.record cimport (
    record_begin, record_end, record_failure, record_id, record_refused,
)
from fastgate.dataplane.exchange.routing cimport (
    REFUSAL_BYTES, find_route, judge_unknown_method, note_refused, put_refusal,
)
from fastgate.dataplane.exchange.sides cimport (
    ORIGIN_ENDPOINT, ORIGIN_HERE, ORIGIN_KINDS, QUEUED_FOR_EVER,
)
from fastgate.dataplane.exchange.steps cimport (
    ENDING_CUT_BOTH,
    STEP_BACKOFF,
    STEP_CONNECT,
    STEP_DELIVER,
    STEP_DONE,
    STEP_FORWARD,
    STEP_GATHER,
    STEP_PICK,
    STEP_QUEUED,
    STEP_RELAY,
    STEP_TUNNEL,
    step_info,
)
from fastgate.dataplane.http.message cimport (
    BODY_CHUNKED, BODY_COUNTED, BODY_NONE, BODY_RAW, H_EXPECT,
)
from fastgate.dataplane.http.outgoing cimport Framing, RequestFacts
from fastgate.dataplane.plan.answer cimport (
    ANSWER_UPSTREAM, ErrorPages, Page, page_of,
)
from fastgate.dataplane.plan.listener cimport ListenerPlan
from fastgate.dataplane.plan.route cimport RoutePlan
from fastgate.dataplane.plan.upstream cimport UpstreamPlan, lists_status
from fastgate.dataplane.shared.slots cimport lease
from fastgate.dataplane.telemetry.incidents cimport INCIDENT_LOOP

cdef enum:
    MAX_INTERIMS = 100          # responses with status 1xx before the final one
    HEAD_KEPT_BYTES = 4096      # an exchange keeps a head buffer up to this size
    CLIENT_GONE = 499           # the status of faults that nobody is there to hear of
    LEAST_LISTED = 429          # the lowest status that `retry.on` may list

# Who may answer: made known before the first exchange, for their rooms stand above.
cdef const OriginOps *ORIGINS[ORIGIN_KINDS]


cdef void exchange_register(int kind, const OriginOps *ops) noexcept:
    """`kind` is an OriginKind."""
    ORIGINS[kind] = ops


# --- beginning -------------------------------------------------------------

cdef Exchange *start(Worker *w, Client *c) noexcept nogil:
    """A fresh exchange for `c`, or NULL: no memory."""
    cdef Exchange *x = <Exchange *>slab_take(&w.exchanges)
    if x is NULL:
        return NULL
    x.client = c
    x.origin = NULL
    x.origin_ops = ORIGINS[<int>ORIGIN_ENDPOINT]
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
    x.here.exchange = NULL
    x.rule = NULL
    x.rule_at = 0
    x.head.at = 0
    x.head.end = 0
    memset(&x.stash, 0, sizeof(x.stash))
    c.exchange = x
    fg_bump(&w.row.requests, 1)
    fg_bump32(&w.row.exchanges, 1)
    return x


cdef bint request_refused(
    Worker *w, Client *c, int fault, const Head *h
) noexcept nogil:
    """What the client sent, `h`, is not a request that may go on. False: no memory."""
    cdef Exchange *x = start(w, c)
    if x is NULL:
        return False
    record_refused(w, x, h)
    if fault == FAULT_METHOD_UNKNOWN:
        fault = judge_unknown_method(w, x, h)
    abandon(w, x, fault)
    return True


cdef bint request_head(Worker *w, Client *c, const Head *h) noexcept nogil:
    """`h` is a whole, valid head: an exchange begins. False: no memory for it."""
    cdef Exchange *x = start(w, c)
    cdef int fault
    if x is NULL:
        return False
    fault = begin(w, x, h)
    if fault:
        abandon(w, x, fault)
    return True


cdef int begin(Worker *w, Exchange *x, const Head *h) noexcept nogil:
    """Route it, write it, send it on; or a Fault."""
    cdef const RoutePlan *plan
    cdef const UpstreamPlan *upstream
    cdef int fault
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
        return fault
    plan = &w.routes[x.route]
    x.attempt.upstream = plan.upstream
    x.max_body_bytes = plan.max_body_bytes
    if plan.deadline_ms:
        x.deadline_ms = w.now_ms + plan.deadline_ms
    if x.max_body_bytes and h.content_length > x.max_body_bytes:
        return FAULT_BODY_TOO_LARGE
    if plan.answer.kind != ANSWER_UPSTREAM:
        return answer(w, x, h)
    x.attempt.key = balancing_key(
        w, plan.upstream, x.client.peer.text, x.client.peer.len, x.client.peer.trusted,
        h,
    )
    fault = pack(w, x, h)
    if fault:
        return fault
    upstream = &w.upstream_plans[plan.upstream]
    budget_note_request(&w.budgets[plan.upstream], upstream.retry_budget_percent)
    # A client that waits for 100 Continue waits for the endpoint to say it.
    if (
        h.has_body
        and upstream.buffer_request_bytes
        and h.field_of[<int>H_EXPECT] < 0
    ):
        x.step = STEP_GATHER
    else:
        dispatch(w, x, NO_ENDPOINT)
    return FAULT_NONE


cdef int answer(Worker *w, Exchange *x, const Head *h) noexcept nogil:
    """The gateway answers itself, at once: nothing is chosen, leased or waited for."""
    cdef bint ready
    cdef int fault
    x.origin_ops = ORIGINS[<int>ORIGIN_HERE]
    fault = x.origin_ops.pack(w, x, h, NULL)
    if fault == FAULT_NONE:
        fault = x.origin_ops.open(w, x, &ready)
    if fault:
        return fault
    if x.wants_tunnel:
        # What came behind it in hope of another protocol is no request.
        x.client.close_after = 1
    x.step = STEP_FORWARD
    # Nothing of `x` may be touched behind this: the answer may be all delivered.
    x.origin.ops.head(w, x)
    return FAULT_NONE


cdef int pack(Worker *w, Exchange *x, const Head *h) noexcept nogil:
    """The request head as it goes upstream, kept for as long as it may be resent."""
    cdef const Client *c = x.client
    cdef const ListenerPlan *listener = &w.listeners[c.listener]
    cdef RequestFacts facts
    cdef char id[33]
    cdef int fault
    random_id(&w.random, id)
    facts.peer = c.peer.text
    facts.peer_len = c.peer.len
    facts.peer_is_v6 = c.peer.is_v6
    facts.trusted = c.peer.trusted
    facts.port = listener.port.at
    facts.port_len = listener.port.len
    facts.scheme = listener.scheme.at
    facts.scheme_len = listener.scheme.len
    facts.request_id = id
    facts.tunnel = x.wants_tunnel
    fault = x.origin_ops.pack(w, x, h, &facts)
    if fault == FAULT_LOOP:
        note_refused(w, x, h, INCIDENT_LOOP, FAULT_LOOP)
    if fault == FAULT_NONE:
        record_id(w, x)
    return fault


# --- picking an endpoint ---------------------------------------------------

cdef void dispatch(Worker *w, Exchange *x, int endpoint) noexcept nogil:
    """Lease an endpoint and send it the request, or connect to it first.

    endpoint  chosen already; NO_ENDPOINT: choose one
    """
    cdef const UpstreamPlan *plan = &w.upstream_plans[x.attempt.upstream]
    cdef bint late = endpoint != NO_ENDPOINT or x.attempt.n_tried or x.attempt.replayed
    cdef bint ready = False
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
                timer_set(&w.wheel, &x.timer, w.now_ms + plan.queue_timeout_ms)
            else:
                abandon(w, x, FAULT_QUEUE_FULL)
            return
        if endpoint == NO_ENDPOINT:
            abandon(w, x, x.fault if x.fault else FAULT_NO_ENDPOINT)
            return
        if x.attempt.retry_due != DUE_NOT and not charge_retry(w, &x.attempt):
            abandon(w, x, x.fault)
            return
        lease(w.shared, w.slot, endpoint)
        attempt_try(&x.attempt, endpoint)
        fault = x.origin_ops.open(w, x, &ready)
        if fault == FAULT_NONE:
            if plan.per_try_ms:
                timer_set(&w.wheel, &x.timer, w.now_ms + plan.per_try_ms)
            if ready:
                forward(w, x)
                if late and not x.request_done:
                    # The body was left unread while there was nowhere to put it.
                    x.client.ops.resume(w, x)
            else:
                x.step = STEP_CONNECT
            return
        record_failure(w, x, fault)
        release_lease(w, &x.attempt, fault, False)
        endpoint = NO_ENDPOINT
        if try_again(w, x, fault, False, False) == NO_MORE:
            abandon(w, x, fault)
            return
        if pause(w, x):
            return


# --- waiting for a connection ----------------------------------------------

cdef void wake_queue(Worker *w, int upstream) noexcept nogil:
    """Connections came free: whom they fit gets them, the oldest first.

    Who has tried the endpoint that has room goes on waiting, and who stands behind
    is served; but whom nothing fits that has tried nothing, nobody is better off.
    A waiter whose endpoint refuses at once ends in abandon(), which comes here
    again: the flag makes that a turn of this loop and not a recursion.
    """
    cdef Attempt *a
    cdef Exchange *x
    cdef int endpoint
    if w.waking or w.closing or upstream < 0:
        return
    w.waking = 1
    a = w.queues[upstream].first
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


cdef void queue_timer(Worker *w, Timer *t) noexcept nogil:
    """`t` is the `look` of a queue: wake it, and look again if it is not empty yet."""
    cdef int upstream = queue_of(w, t)
    wake_queue(w, upstream)
    look_again(w, upstream)


cdef void exchange_timer(Worker *w, Exchange *x) noexcept nogil:
    """A wait or a pause is over, or `per_try`, which ends with the try's own steps."""
    if x.step == STEP_QUEUED:
        abandon(w, x, step_info(STEP_QUEUED).late)
    elif x.step == STEP_BACKOFF:
        dispatch(w, x, NO_ENDPOINT)
    elif x.step == STEP_CONNECT or (x.step == STEP_FORWARD and x.request_done):
        origin_fault(w, x, step_info(x.step).late)


# --- the request goes upstream ---------------------------------------------

cdef void forward(Worker *w, Exchange *x) noexcept nogil:
    """Send the head, and what STEP_GATHER has of the body.

    A body that is whole is kept for another try, until the answer begins.
    """
    cdef Bytes held
    x.step = STEP_FORWARD
    x.fault = FAULT_NONE    # of an earlier try
    x.rule = NULL
    x.attempt.os_error = 0
    x.streams = not x.request_done
    x.forwarded_us = w.now_us
    x.origin.ops.head(w, x)
    if bytes_len(&x.body) and x.request_done and may_repeat(w, x, False):
        x.origin.ops.body(w, x, x.body.data + x.body.at, bytes_len(&x.body))
    elif bytes_len(&x.body):
        held = bytes_take(&x.body)
        x.body_sent = 1
        x.origin.ops.body(w, x, held.data + held.at, bytes_len(&held))
        bytes_drop(&held)
    if x.request_done:
        x.origin.ops.end(w, x)


cdef void origin_ready(Worker *w, Exchange *x) noexcept nogil:
    """Connected: the request goes out, and its body may come in."""
    forward(w, x)
    if not x.request_done:
        x.client.ops.resume(w, x)


cdef void request_body(
    Worker *w, Exchange *x, const char *data, size_t n
) noexcept nogil:
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
    x.origin.ops.body(w, x, data, n)


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
    if x.origin is not NULL and x.step != STEP_CONNECT:
        x.origin.ops.end(w, x)
    if x.step == STEP_FORWARD and w.upstream_plans[x.attempt.upstream].per_try_ms:
        # As the time to answer, it counts from the end of the request.
        timer_set(
            &w.wheel, &x.timer,
            w.now_ms + w.upstream_plans[x.attempt.upstream].per_try_ms,
        )
    if x.step == STEP_TUNNEL:
        end_tunnel(w, x)


cdef void origin_flushed(Worker *w, Exchange *x) noexcept nogil:
    if x.step == STEP_TUNNEL and x.request_done:
        end_tunnel(w, x)
    elif not x.request_done:
        x.client.ops.resume(w, x)


# --- the response comes back -----------------------------------------------

cdef void response_head(Worker *w, Exchange *x, const Head *h) noexcept nogil:
    """`h` is a head: interim, a tunnel's grant, or the final one."""
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
            x.rule = "more than 100 interim answers"
            origin_fault(w, x, FAULT_UPSTREAM_BAD)
        elif x.minor:
            fault = x.client.ops.head(w, x, h, &framing)
            if fault:
                origin_fault(w, x, fault)
        return

    # Before the end of the request no other protocol may begin (RFC 9110 section
    # 7.8): a 101 that comes earlier is no answer to it.
    if h.status == 101 and not (x.wants_tunnel and h.upgrade and x.request_done):
        x.rule = "a 101 that nobody asked for"
        origin_fault(w, x, FAULT_UPSTREAM_BAD)
        return
    if x.attempt.endpoint >= 0:
        if h.status >= LEAST_LISTED and lists_status(
            &w.upstream_plans[x.attempt.upstream], h.status
        ):
            if answer_fails(w, x, h.status):
                origin_fault(w, x, FAULT_UPSTREAM_STATUS)
                return
            x.head_us = w.now_us - x.forwarded_us
        else:
            x.head_us = w.now_us - x.forwarded_us
            # Where the head went ahead of a body that streams, the time is the
            # client's.
            note_answer(w, &x.attempt, -1 if x.streams else x.head_us)
        if bytes_len(&x.body):
            # It is not sent again: whatever breaks off now has begun.
            bytes_drop(&x.body)
            x.body_sent = 1
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
        if not x.request_done or w.draining or hopes(w, x):
            # What the client still sends is not the beginning of another request.
            x.client.close_after = 1
        framing.close = x.client.close_after
    fault = x.client.ops.head(w, x, h, &framing)
    if fault:
        origin_fault(w, x, fault)
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
        x.origin.ops.tunnel(w, x)
        x.client.ops.tunnel(w, x)
    else:
        x.step = STEP_RELAY


cdef bint hopes(Worker *w, Exchange *x) noexcept nogil:
    """Has the client sent something in hope of a tunnel? It is no request then."""
    return x.wants_tunnel and x.client.ops.has_more(w, x)


cdef void response_body(
    Worker *w, Exchange *x, const char *data, size_t n
) noexcept nogil:
    x.response_bytes += <int64_t>n
    x.client.ops.body(w, x, data, n)


cdef void response_end(Worker *w, Exchange *x) noexcept nogil:
    """The upstream has said all: let it go, then see the client off."""
    cdef int upstream = x.attempt.upstream
    x.response_done = 1
    if x.step == STEP_TUNNEL:
        x.client.ops.end(w, x)
        end_tunnel(w, x)
        return
    x.origin.ops.release(w, x)
    release_lease(w, &x.attempt, FAULT_NONE, False)
    x.step = STEP_DELIVER
    x.client.ops.end(w, x)
    if x.client.ops.queued(w, x) == 0:
        finish(w, x)
    wake_queue(w, upstream)


cdef void client_flushed(Worker *w, Exchange *x) noexcept nogil:
    """The client took what was queued for it."""
    if x.step == STEP_DELIVER:
        if x.client.ops.queued(w, x) == 0:
            finish(w, x)
    elif x.step == STEP_TUNNEL and x.response_done:
        end_tunnel(w, x)
    elif x.origin is not NULL and x.step != STEP_CONNECT:
        # Else it took an interim answer, and the one that gave it has failed.
        x.origin.ops.resume(w, x)


cdef void end_tunnel(Worker *w, Exchange *x) noexcept nogil:
    """A tunnel is over when both sides have ended and all of it is delivered."""
    cdef int upstream = x.attempt.upstream
    if (
        x.request_done
        and x.response_done
        and x.client.ops.queued(w, x) == 0
        and x.origin.ops.queued(w, x) == 0
    ):
        x.origin.ops.release(w, x)
        release_lease(w, &x.attempt, FAULT_NONE, False)
        finish(w, x)
        wake_queue(w, upstream)


# --- faults ----------------------------------------------------------------

cdef void origin_fault(Worker *w, Exchange *x, int fault) noexcept nogil:
    """The upstream failed this exchange: replay it, retry it, or end it."""
    cdef int upstream = x.attempt.upstream
    cdef bint stale = x.origin.reused and not x.origin.answered
    cdef bint repeatable
    cdef int sequel
    if upstream < 0:
        # There is nobody else to be asked.
        abandon(w, x, fault)
        return
    repeatable = may_repeat(w, x, x.origin.answered)
    x.origin.ops.reset(w, x)
    take_back(w, x)
    sequel = try_again(w, x, fault, repeatable, stale)
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
    if sequel == REPLAY or not pause(w, x):
        dispatch(w, x, NO_ENDPOINT)
    # Its first endpoint has a connection less.
    wake_queue(w, upstream)


cdef void abandon(Worker *w, Exchange *x, int fault) noexcept nogil:
    """End `x` by `fault`: by a reply if one can still be given, else by a cut.

    For the client's side too, when the client or a time that is kept for it ends it.
    """
    cdef const FaultInfo *info = fault_info(fault)
    cdef int upstream = x.attempt.upstream
    x.fault = <uint8_t>fault
    if x.step == STEP_QUEUED:
        leave_queue(w, x)
    if x.origin is not NULL:
        if step_info(x.step).ending == ENDING_CUT_BOTH:
            x.origin.ops.cut(w, x)
        else:
            x.origin.ops.reset(w, x)
    release_lease(w, &x.attempt, fault, x.step == STEP_TUNNEL)
    take_back(w, x)
    if x.client is not NULL:
        if (
            fault == FAULT_SEND_TIMEOUT or fault == FAULT_SEND_TOO_SLOW
            or x.client.ops.queued(w, x) == QUEUED_FOR_EVER
        ):
            x.client.ops.reset(w, x)
        elif x.response_started or info.status == CLIENT_GONE:
            # Whoever ended only its own side may still be reading.
            x.client.ops.cut(w, x)
    if x.client is NULL:
        finish(w, x)
    else:
        reply(w, x, info)
    wake_queue(w, upstream)


cdef void take_back(Worker *w, Exchange *x) noexcept nogil:
    """As if the answer had not begun, if none of it has left the cork yet."""
    if (
        x.response_started
        and x.client is not NULL
        and x.client.ops.take_back(w, x)
    ):
        x.response_started = 0
        x.response_kind = BODY_NONE
        x.response_bytes = 0
        x.head_us = -1
        x.status = 0


cdef void reply(Worker *w, Exchange *x, const FaultInfo *info) noexcept nogil:
    """What the gateway itself says of a fault: its page, or one line of text."""
    cdef char refusal[REFUSAL_BYTES]
    cdef const char *text = info.text
    cdef const ErrorPages *errors = w.gateway.errors
    cdef const Page *page
    if x.route >= 0:
        errors = w.routes[x.route].errors
    page = page_of(errors, info.status)
    if x.fault == FAULT_AMBIGUOUS_PATH:
        put_refusal(w, x, refusal)
        text = refusal
    if info.side == SIDE_CLIENT or not x.request_done or hopes(w, x):
        # Where the client's next request would begin is not known.
        x.client.close_after = 1
    if w.draining:
        x.client.close_after = 1
    if x.client.ops.reply(w, x, info.status, text, page):
        x.client.ops.reset(w, x)
        finish(w, x)
        return
    x.status = <uint16_t>info.status
    x.response_started = 1
    if 0 < x.client.ops.queued(w, x) < QUEUED_FOR_EVER:
        x.step = STEP_DELIVER
    else:
        finish(w, x)


# --- the end ---------------------------------------------------------------

cdef void finish(Worker *w, Exchange *x) noexcept nogil:
    """Every exchange ends here, exactly once."""
    cdef Client *c = x.client
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
    if c is not NULL:
        c.ops.done(w, c)
