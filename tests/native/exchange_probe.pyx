"""Exchanges between sides that are fakes: no socket, no protocol, no time that passes.

Runs in: tests only. A fake side writes down what the exchange asks of it, and complains
about what no side may be asked. Arguments are checked here, for the rooms themselves
trust their callers.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastgate.dataplane.balance.attempt cimport WaitQueue
from fastgate.dataplane.balance.budget cimport RetryBudget
from fastgate.dataplane.balance.members cimport (
    members_follow, members_free, members_make,
)
from fastgate.dataplane.balance.policies cimport set_full
from fastgate.dataplane.base.atomics cimport fg_load, fg_load32
from fastgate.dataplane.base.faults cimport (
    FAULT_COUNT, FAULT_DRAINED, FAULT_NONE, FAULT_PARTIAL, fault_info,
)
from fastgate.dataplane.base.memory cimport bytes_append, slab_at, slab_free, slab_init
from fastgate.dataplane.base.wheel cimport (
    TIMER_EXCHANGE, Timer, wheel_close, wheel_expired, wheel_init,
)
from fastgate.dataplane.exchange.again cimport end_pauses
from fastgate.dataplane.exchange.answer cimport answer_ops
from fastgate.dataplane.exchange.exchange cimport (
    abandon, client_flushed, exchange_register, exchange_timer, origin_fault,
    origin_flushed, origin_ready, queue_timer, request_body, request_end, request_head,
    request_refused, response_body, response_end, response_head, wake_queue,
)
from fastgate.dataplane.exchange.sides cimport (
    ORIGIN_ENDPOINT, ORIGIN_HERE, QUEUED_FOR_EVER, ClientOps, Exchange, OriginOps,
    is_full, takes_body,
)
from fastgate.dataplane.exchange.steps cimport step_info
from fastgate.dataplane.h1.origin cimport h1_origin_ops
from fastgate.dataplane.h1.parser cimport parse_head, parser_init
from fastgate.dataplane.http.message cimport Parser
from fastgate.dataplane.http.outgoing cimport Framing, RequestFacts
from fastgate.dataplane.plan.answer cimport Page
from fastgate.dataplane.plan.upstream cimport UpstreamPlan
from fastgate.dataplane.shared.places cimport (
    ALL_LANES, membership_version, slots_used,
)
from fastgate.dataplane.shared.slots cimport STATUS_CLASSES, in_flight, worker_row
from fastgate.dataplane.telemetry.accesslog cimport log_close, log_flush, log_open
from fastgate.dataplane.telemetry.clock cimport clock_start, clock_tick
from fastgate.dataplane.telemetry.incidents cimport incidents_make
from fastgate.dataplane.telemetry.logwriter cimport writer_wait

BROKEN = QUEUED_FOR_EVER        # `queued` of a peer that takes nothing any more
FAULTS = {
    fault_info(i).reason.decode(): i for i in range(FAULT_COUNT) if i != FAULT_PARTIAL
}


# --- the client that is a fake ----------------------------------------------

cdef inline ClientSide client_side(Exchange *x):
    return <ClientSide>(<FakeClient *>x.client).side


cdef int client_head(
    Worker *w, Exchange *x, const Head *h, const Framing *framing
) noexcept with gil:
    cdef ClientSide side = client_side(x)
    words = [f"head {h.status}"]
    if framing.tunnel:
        words.append("tunnel")
    elif framing.content_length >= 0:
        words.append(f"counted {framing.content_length}")
    elif framing.chunked:
        words.append("chunked")
    elif framing.bodiless:
        words.append("bodiless")
    if framing.close:
        words.append("close")
    if side.answered:
        side.gate.complaints.append(f"a second head: {h.status}")
    side.answered = h.status >= 200 or h.status == 101
    if not side.answered:
        side.send(1)
    side.hear(" ".join(words))
    return FAULT_NONE


cdef void client_body(
    Worker *w, Exchange *x, const char *data, size_t n
) noexcept with gil:
    cdef ClientSide side = client_side(x)
    if not side.answered:
        side.gate.complaints.append("a body without a head")
    if side.is_corked:
        side.held += n
    else:
        side.send(n)
    side.hear(f"body {data[:n].decode()}")


cdef void client_end(Worker *w, Exchange *x) noexcept with gil:
    cdef ClientSide side = client_side(x)
    side.push()
    side.hear("end")


cdef int client_reply(
    Worker *w, Exchange *x, int status, const char *text, const Page *page
) noexcept with gil:
    cdef ClientSide side = client_side(x)
    if side.answered:
        side.gate.complaints.append("a reply behind a head")
    side.answered = True
    side.push()
    side.send(1)
    side.hear(f"reply {status} {text.decode()}")
    x.response_bytes = <int64_t>len(text)
    return FAULT_NONE


cdef bint client_take_back(Worker *w, Exchange *x) noexcept with gil:
    cdef ClientSide side = client_side(x)
    if not side.is_corked:
        return False
    side.answered = False
    side.held = 0
    side.hear("take back")
    return True


cdef void client_tunnel(Worker *w, Exchange *x) noexcept with gil:
    cdef ClientSide side = client_side(x)
    side.reads = True
    side.hear("tunnel")


cdef void client_leave(Exchange *x, str how):
    cdef ClientSide side = client_side(x)
    side.hear(how)
    side.reads = False
    side.fake.client.exchange = NULL
    x.client = NULL


cdef void client_cut(Worker *w, Exchange *x) noexcept with gil:
    client_leave(x, "cut")


cdef void client_reset(Worker *w, Exchange *x) noexcept with gil:
    client_leave(x, "reset")


cdef void client_resume(Worker *w, Exchange *x) noexcept with gil:
    client_side(x).hear("resume")


cdef size_t client_queued(Worker *w, Exchange *x) noexcept with gil:
    return client_side(x).queued


cdef bint client_has_more(Worker *w, Exchange *x) noexcept with gil:
    return client_side(x).has_more


cdef void client_done(Worker *w, Client *c) noexcept with gil:
    cdef ClientSide side = <ClientSide>(<FakeClient *>c).side
    if c.exchange is NULL:
        side.gate.complaints.append("done, but nothing was on")
    side.hear("done")
    side.reads = False
    c.exchange = NULL


cdef ClientOps CLIENT
CLIENT.head = client_head
CLIENT.body = client_body
CLIENT.end = client_end
CLIENT.reply = client_reply
CLIENT.take_back = client_take_back
CLIENT.tunnel = client_tunnel
CLIENT.cut = client_cut
CLIENT.reset = client_reset
CLIENT.resume = client_resume
CLIENT.queued = client_queued
CLIENT.has_more = client_has_more
CLIENT.done = client_done


# --- the origin that is a fake ----------------------------------------------

cdef inline OriginSide origin_side(Exchange *x):
    return <OriginSide>(<FakeOrigin *>x.origin).side


cdef int origin_pack(
    Worker *w, Exchange *x, const Head *h, const RequestFacts *facts
) noexcept with gil:
    cdef Gate gate = <Gate>w.h1
    cdef bytes head = (
        h.line[:h.line_len] + b"\r\nX-Request-ID: " + facts.request_id + b"\r\n\r\n"
    )
    gate.asked.append(f"pack {h.line[:h.line_len].decode()}")
    if gate.pack_fault is not None:
        return FAULTS[gate.pack_fault]
    bytes_append(&x.head, head, len(head))
    return FAULT_NONE


cdef int origin_open(Worker *w, Exchange *x, bint *ready) noexcept with gil:
    cdef Gate gate = <Gate>w.h1
    cdef OriginSide side
    how = gate.opens.pop(0) if gate.opens else "ready"
    if how == "pooled" and x.attempt.replayed:
        how = "ready"
    gate.asked.append(f"open {x.attempt.endpoint}")
    if x.origin is not NULL:
        gate.complaints.append("a second origin")
    if how in FAULTS:
        return FAULTS[how]
    side = OriginSide(gate, x.attempt.endpoint)
    gate.origins.append(side)
    gate.count(side.endpoint, 1)
    side.fake.origin.exchange = x
    side.fake.origin.reused = how == "pooled"
    side.is_connecting = how == "waits"
    x.origin = &side.fake.origin
    ready[0] = not side.is_connecting
    return FAULT_NONE


cdef void origin_head(Worker *w, Exchange *x) noexcept with gil:
    origin_side(x).hear("head")


cdef void origin_body(
    Worker *w, Exchange *x, const char *data, size_t n
) noexcept with gil:
    cdef OriginSide side = origin_side(x)
    if side.gate.is_slow:
        side.queued += n
    side.hear(f"body {data[:n].decode()}")


cdef void origin_end(Worker *w, Exchange *x) noexcept with gil:
    origin_side(x).hear("end")


cdef void origin_tunnel(Worker *w, Exchange *x) noexcept with gil:
    origin_side(x).hear("tunnel")


cdef void origin_leave(Exchange *x, str how):
    cdef OriginSide side = origin_side(x)
    side.hear(how)
    side.leave()


cdef void origin_cut(Worker *w, Exchange *x) noexcept with gil:
    origin_leave(x, "cut")


cdef void origin_reset(Worker *w, Exchange *x) noexcept with gil:
    origin_leave(x, "reset")


cdef void origin_resume(Worker *w, Exchange *x) noexcept with gil:
    origin_side(x).hear("resume")


cdef size_t origin_queued(Worker *w, Exchange *x) noexcept with gil:
    return origin_side(x).queued


cdef void origin_release(Worker *w, Exchange *x) noexcept with gil:
    origin_leave(x, "release")


cdef OriginOps ORIGIN
ORIGIN.pack = origin_pack
ORIGIN.open = origin_open
ORIGIN.head = origin_head
ORIGIN.body = origin_body
ORIGIN.end = origin_end
ORIGIN.tunnel = origin_tunnel
ORIGIN.cut = origin_cut
ORIGIN.reset = origin_reset
ORIGIN.resume = origin_resume
ORIGIN.queued = origin_queued
ORIGIN.release = origin_release


# --- what tests turn ----------------------------------------------------------

cdef class Gate:
    """Worker 0 of `region`, which serves `plan` to fakes. The clock begins at 1 s.

    log_fd  where lines go, in the format of the plan; -1: nowhere. Owned from here on
    """

    def __cinit__(self, Region region, Plan plan, int log_fd=-1):
        cdef Worker *w = <Worker *>calloc(1, sizeof(Worker))
        cdef int n = slots_used(&region.shared)
        self.region = region
        self.plan = plan
        self.worker = w
        self.head = <Head *>calloc(1, sizeof(Head))
        self.open_ = [0] * n
        self.asked = []
        self.clients = []
        self.origins = []
        self.complaints = []
        self.opens = []
        w.h1 = <void *>self
        w.gateway = &plan.gateway
        w.listeners = plan.listeners
        w.upstream_plans = plan.upstreams
        w.routes = plan.routes
        w.router = plan.router.table
        w.n_endpoints = n
        w.lanes = ALL_LANES
        w.n_upstreams = plan.n_upstreams
        w.shared = &region.shared
        w.row = worker_row(w.shared, 0)
        w.now_ms = 1000
        w.now_us = w.now_ms * 1000
        wheel_init(&w.wheel, w.now_ms)
        slab_init(&w.exchanges, sizeof(Exchange))
        w.random.s[0] = 1       # the same draws in every run
        w.incidents = incidents_make()
        w.budgets = <RetryBudget *>calloc(w.n_upstreams, sizeof(RetryBudget))
        w.queues = <WaitQueue *>calloc(w.n_upstreams, sizeof(WaitQueue))
        members_make(w)
        members_follow(w, membership_version(w.shared))
        log_open(
            &w.log, log_fd, plan.log.access_log_format,
            plan.log.access_log_buffer_bytes, 1 << 20,
        )
        clock_start(&w.clock)
        clock_tick(&w.clock, 0)

    def __dealloc__(self):
        cdef Worker *w = self.worker
        cdef uint32_t n
        log_close(&w.log, 0)
        for n in range(w.exchanges.made):
            free((<Exchange *>slab_at(&w.exchanges, n)).head.data)
        slab_free(&w.exchanges)
        members_free(w)
        wheel_close(&w.wheel)
        free(w.queues)
        free(w.budgets)
        free(w.incidents)
        free(self.head)
        free(w)

    cdef int count(self, int endpoint, int by) except -1:
        """A connection to `endpoint` opens, 1, or closes, -1."""
        cdef Worker *w = self.worker
        cdef const UpstreamPlan *u = (
            &w.upstream_plans[w.endpoints[endpoint].upstream]
        )
        self.open_[endpoint] += by
        if u.upstream_max:
            if self.open_[endpoint] > u.upstream_max:
                self.complaints.append(f"too many connections to {endpoint}")
            set_full(
                &w.groups[w.endpoints[endpoint].upstream],
                w.endpoints[endpoint].member, self.open_[endpoint] >= u.upstream_max,
            )
        return 0

    def client(self, bytes address=b"192.0.2.1", bint trusted=False):
        """A client of the first listener, with nothing asked yet."""
        cdef ClientSide side = ClientSide(self)
        side.fake.client.peer.len = <uint8_t>len(address)
        side.fake.client.peer.trusted = trusted
        memcpy(side.fake.client.peer.text, <const char *>address, len(address))
        self.clients.append(side)
        return side

    def turn_clock(self, int64_t by_ms):
        """Let time pass: who waits is looked at, or has waited too long."""
        cdef Worker *w = self.worker
        cdef Timer *t
        cdef Exchange *x
        w.now_ms += by_ms
        w.now_us = w.now_ms * 1000
        while True:
            t = wheel_expired(&w.wheel, w.now_ms)
            if t is NULL:
                return
            if t.owner != TIMER_EXCHANGE:
                queue_timer(w, t)
                continue
            x = <Exchange *>(<char *>t - <size_t>&(<Exchange *>NULL).timer)
            if x.item.is_live:
                exchange_timer(w, x)
            else:
                self.complaints.append("the timer of an exchange that is over")

    def wake(self):
        """A connection of the first upstream that was no exchange's has closed."""
        wake_queue(self.worker, 0)

    def drain(self):
        self.worker.draining = 1
        end_pauses(self.worker)

    def close(self):
        """The end of the worker, as Engine.close() brings it about."""
        cdef Worker *w = self.worker
        cdef Exchange *x
        cdef uint32_t n
        cdef int _turn
        w.draining = 1
        w.closing = 1
        for n in range(w.exchanges.made):
            x = <Exchange *>slab_at(&w.exchanges, n)
            for _turn in range(2):
                if x.item.is_live:
                    abandon(w, x, FAULT_DRAINED)

    def lines(self):
        """Have the log written out, to be read where it goes."""
        log_flush(&self.worker.log)
        if self.worker.log.writer is not NULL:
            with nogil:
                writer_wait(self.worker.log.writer, 1000)

    @property
    def leases(self):
        """Of each endpoint, held now."""
        cdef Worker *w = self.worker
        return [in_flight(w.shared, i) for i in range(w.n_endpoints)]

    @property
    def connections(self):
        """Of each endpoint, open now: no origin here outlives its exchange."""
        return list(self.open_)

    @property
    def exchanges(self):
        """As memory holds them, and as the worker's row counts them."""
        return self.worker.exchanges.live, fg_load32(&self.worker.row.exchanges)

    @property
    def waiting(self):
        """In each upstream's queue."""
        return [self.worker.queues[i].n for i in range(self.worker.n_upstreams)]

    @property
    def row(self):
        """What the worker has counted: requests, retries, faults, and ends in all."""
        cdef int i
        return {
            "requests": fg_load(&self.worker.row.requests),
            "retries": fg_load(&self.worker.row.retries),
            "faults": fg_load(&self.worker.row.faults),
            "ends": sum([
                fg_load(&self.worker.row.statuses[i]) for i in range(STATUS_CLASSES)
            ]),
        }


cdef class ClientSide:
    def __cinit__(self, Gate gate):
        self.gate = gate
        self.heard = []
        self.fake.client.ops = &CLIENT
        self.fake.side = <void *>self

    cdef int hear(self, str what) except -1:
        if self.fake.client.exchange is NULL:
            self.gate.complaints.append(f"a client without exchange: {what}")
        self.heard.append(what)
        return 0

    cdef int send(self, size_t n) except -1:
        """Bytes leave, which its peer takes at once unless it is slow."""
        if self.gate.is_slow and self.queued != BROKEN:
            self.queued += n
        return 0

    cdef int push(self) except -1:
        """What is held leaves."""
        self.send(self.held)
        self.held = 0
        self.is_corked = False
        return 0

    cdef int check(self) except -1:
        if self.fake.client.exchange is NULL:
            raise ValueError("no exchange is on")
        return 0

    def ask(self, bytes head):
        """Send a head; what it has of a body is to follow.

        One that may not go on is refused by its fault.
        """
        cdef Gate gate = self.gate
        cdef Parser parser
        cdef size_t used = 0
        cdef int fault
        if self.fake.client.exchange is not NULL:
            raise ValueError("an exchange is on")
        parser_init(&parser, False, False)
        fault = parse_head(
            &parser, gate.head, &gate.plan.gateway.head, head, len(head), 0, &used
        )
        if fault == FAULT_PARTIAL:
            raise ValueError(head)
        self.answered = False
        self.held = 0
        self.fake.client.close_after = fault != FAULT_NONE or not gate.head.keep_alive
        # The one door is for every worker of a process: an Engine's is open again
        # behind us.
        exchange_register(ORIGIN_ENDPOINT, &ORIGIN)
        exchange_register(ORIGIN_HERE, answer_ops())
        if fault != FAULT_NONE:
            request_refused(gate.worker, &self.fake.client, fault, gate.head)
        else:
            self.reads = gate.head.has_body
            request_head(gate.worker, &self.fake.client, gate.head)
        exchange_register(ORIGIN_ENDPOINT, h1_origin_ops())

    def body(self, bytes data):
        self.check()
        if not self.reads or not self.may_send:
            raise ValueError("no body is read")
        request_body(self.gate.worker, self.fake.client.exchange, data, len(data))

    def end(self):
        """The end of its body, or of its side of a tunnel."""
        self.check()
        if not self.reads:
            raise ValueError("no body is read")
        self.reads = False
        request_end(self.gate.worker, self.fake.client.exchange)

    def take(self):
        """Its peer takes all that is queued."""
        self.check()
        self.queued = 0
        client_flushed(self.gate.worker, self.fake.client.exchange)

    def fail(self, str reason):
        """It ends the exchange by that fault."""
        self.check()
        abandon(self.gate.worker, self.fake.client.exchange, FAULTS[reason])

    @property
    def may_send(self):
        """Would more of a body be taken now?"""
        self.check()
        return bool(takes_body(self.gate.worker, self.fake.client.exchange))

    @property
    def is_full(self):
        return bool(is_full(self.gate.worker, self.queued))

    @property
    def closes(self):
        """Its connection ends with this exchange."""
        return bool(self.fake.client.close_after)

    @property
    def step(self):
        """Of its exchange; None: none is on."""
        if self.fake.client.exchange is NULL:
            return None
        return step_info(self.fake.client.exchange.step).name.decode()


cdef class OriginSide:
    def __cinit__(self, Gate gate, int endpoint):
        self.gate = gate
        self.endpoint = endpoint
        self.heard = []
        self.fake.origin.ops = &ORIGIN
        self.fake.side = <void *>self

    cdef int hear(self, str what) except -1:
        if self.fake.origin.exchange is NULL:
            self.gate.complaints.append(f"an origin without exchange: {what}")
        if self.is_connecting and what != "reset":
            self.gate.complaints.append(f"an origin that connects: {what}")
        self.heard.append(what)
        return 0

    cdef int check(self) except -1:
        if self.fake.origin.exchange is NULL:
            raise ValueError("no exchange is on")
        return 0

    cdef int leave(self) except -1:
        """The exchange is left, the connection closed."""
        self.fake.origin.exchange.origin = NULL
        self.fake.origin.exchange = NULL
        self.gate.count(self.endpoint, -1)
        return 0

    def ready(self):
        """Connected."""
        self.check()
        if not self.is_connecting:
            raise ValueError("connected already")
        self.is_connecting = False
        origin_ready(self.gate.worker, self.fake.origin.exchange)

    def answer(self, bytes head):
        """Give a head: interim, or the final one."""
        cdef Gate gate = self.gate
        cdef Parser parser
        cdef size_t used = 0
        self.check()
        if self.head_done or self.is_connecting:
            raise ValueError("no head is due")
        parser_init(&parser, True, False)
        if parse_head(
            &parser, gate.head, &gate.plan.gateway.response_head, head, len(head), 0,
            &used,
        ) != FAULT_NONE:
            raise ValueError(head)
        self.fake.origin.answered = True
        self.head_done = gate.head.status >= 200 or gate.head.status == 101
        response_head(gate.worker, self.fake.origin.exchange, gate.head)

    def body(self, bytes data):
        self.check()
        if not self.head_done or self.ended:
            raise ValueError("no body is due")
        response_body(self.gate.worker, self.fake.origin.exchange, data, len(data))

    def end(self):
        """The end of its answer, or of its side of a tunnel."""
        self.check()
        if not self.head_done or self.ended:
            raise ValueError("no end is due")
        self.ended = True
        response_end(self.gate.worker, self.fake.origin.exchange)

    def fail(self, str reason, int os_error=0):
        self.check()
        self.fake.origin.exchange.attempt.os_error = os_error
        origin_fault(self.gate.worker, self.fake.origin.exchange, FAULTS[reason])

    def take(self):
        """Its peer takes all that is queued."""
        self.check()
        self.queued = 0
        origin_flushed(self.gate.worker, self.fake.origin.exchange)

    @property
    def client(self):
        """Whom it serves; None: nobody, any more."""
        if self.fake.origin.exchange is NULL:
            return None
        return client_side(self.fake.origin.exchange)
