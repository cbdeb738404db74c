"""The loop of one worker, and its door to Python. Runs in: worker.

uvloop sleeps; when the data plane's epoll descriptor is readable it calls poll(),
which serves what is ready, without the GIL, for a bounded number of rounds. What
is then still to do makes the descriptor readable again at once, so uvloop's own
callbacks have their turn in between.
"""

cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memmove

from fastgate.dataplane.balance.attempt cimport WaitQueue
from fastgate.dataplane.balance.budget cimport RetryBudget
from fastgate.dataplane.balance.endpoint cimport Endpoint
from fastgate.dataplane.balance.judge cimport note_returns
from fastgate.dataplane.balance.members cimport (
    members_follow, members_free, members_make,
)
from fastgate.dataplane.base.atomics cimport fg_bump, fg_cas32, fg_load, fg_store
from fastgate.dataplane.base.chance cimport random_seed
from fastgate.dataplane.base.faults cimport FAULT_DRAINED, FAULT_OVERLOAD, fault_info
from fastgate.dataplane.base.memory cimport (
    Slab,
    slab_at,
    slab_free,
    slab_init,
)
from fastgate.dataplane.base.system cimport (
    CLOCK_REALTIME_COARSE,
    EAGAIN,
    ECONNABORTED,
    EINTR,
    EMFILE,
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLLEXCLUSIVE,
    EPOLLIN,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_TRUNC,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    accept4,
    clock_gettime,
    close,
    epoll_create1,
    epoll_ctl,
    epoll_event,
    epoll_wait,
    errno,
    getpid,
    read,
    recv,
    send,
    sockaddr,
    sockaddr_storage,
    socklen_t,
    timespec,
)
from fastgate.dataplane.base.wheel cimport (
    TIMER_CONN,
    TIMER_EXCHANGE,
    TIMER_LISTENER,
    TIMER_QUEUE,
    Timer,
    timer_set,
    wheel_arm,
    wheel_close,
    wheel_expired,
    wheel_init,
    wheel_kick,
)
from fastgate.dataplane.conn.conn cimport (
    CORK_BYTES,
    DRAIN_HARD,
    DRAIN_SOFT,
    KIND_CLIENT,
    KIND_LISTENER,
    KIND_ORIGIN,
    KIND_TIMER,
    Conn,
    Worker,
    clock_read,
    conn_find,
    cork_push,
    token,
)
from fastgate.dataplane.exchange.answer cimport answer_ops
from fastgate.dataplane.exchange.again cimport end_pauses
from fastgate.dataplane.exchange.exchange cimport (
    abandon, exchange_register, exchange_timer, queue_timer,
)
from fastgate.dataplane.exchange.sides cimport ORIGIN_ENDPOINT, ORIGIN_HERE, Exchange
from fastgate.dataplane.h1.client cimport client_open, client_retire
from fastgate.dataplane.h1.connections cimport h1_free, h1_make
from fastgate.dataplane.h1.dial cimport origin_retire
from fastgate.dataplane.h1.origin cimport h1_origin_ops, origins_follow
from fastgate.dataplane.h1.write cimport REPLY_BYTES, write_reply
from fastgate.dataplane.plan.plan cimport Plan
from fastgate.dataplane.shared.places cimport ALL_LANES, membership_version
from fastgate.dataplane.shared.slots cimport Region, worker_row
from fastgate.dataplane.telemetry.accesslog cimport (
    log_close, log_dropped, log_flush, log_open, log_reopen,
)
from fastgate.dataplane.telemetry.clock cimport clock_start, clock_tick
from fastgate.dataplane.telemetry.incidents cimport (
    INCIDENT_CONNECTIONS_FULL,
    INCIDENT_FILES_FULL,
    Incident,
    Noted,
    incident,
    incident_note,
    incident_take,
    incidents_make,
    incidents_release,
)

cdef enum:
    BATCH = 256                 # events taken from epoll at a time
    ROUNDS = 16                 # batches served before uvloop's turn
    SCRATCH_BYTES = 131072      # what one read may bring
    ACCEPT_PAUSE_MS = 100       # after the descriptors have run out
    LOG_QUEUE_BYTES = 4194304   # of lines that wait; memory only while they do
    LAST_LINES_MS = 500         # for them at the end; the master waits one second

cdef enum:                      # what tell_all tells
    DRAIN = 0
    CLOSE


@cython.final
cdef class Engine:
    """The data plane of one worker.

    region     the shared memory, made by the master
    slot       this worker's row in it
    plan       what to serve
    listeners  (socket descriptor, index into the plan's listeners) pairs
    access_log_fd  where log lines go, or -1; the plan says in which format
    lanes      the bit of this generation among the members of upstreams
    Raises OSError when the kernel refuses a descriptor, MemoryError.
    """

    def __cinit__(self):
        self.w = NULL
        self.listening = NULL
        self.n_listening = 0

    def __init__(
        self, Region region, int slot, Plan plan, listeners, int access_log_fd=-1,
        int lanes=ALL_LANES,
    ):
        cdef Worker *w
        cdef int i
        if not 0 <= slot < region.shared.n_workers:
            raise IndexError("slot out of range")
        self.region = region
        self.plan = plan
        self.w = w = <Worker *>calloc(1, sizeof(Worker))
        if w is NULL:
            raise MemoryError("worker")
        w.epoll_fd = -1
        w.wheel.fd = -1
        w.gateway = &plan.gateway
        w.listeners = plan.listeners
        w.upstream_plans = plan.upstreams
        w.routes = plan.routes
        w.router = plan.router.table
        w.n_endpoints = region.shared.n_endpoints
        w.lanes = lanes
        w.n_upstreams = plan.n_upstreams
        w.shared = &region.shared
        w.slot = slot
        w.row = worker_row(w.shared, slot)
        # Whoever gives a slot of an endpoint to another waits for this worker from now
        # on, if the master should not have come to say so yet.
        fg_cas32(&w.row.pid, 0, getpid())
        self.dropped_before = fg_load(&w.row.log_lines_dropped)
        clock_read(w)
        self._make_tables(slot)
        log_open(
            &w.log, access_log_fd, plan.log.access_log_format,
            plan.log.access_log_buffer_bytes, LOG_QUEUE_BYTES,
        )
        clock_start(&w.clock)
        tick_second(w)

        self.listening = <Listening *>calloc(len(listeners) + 1, sizeof(Listening))
        if self.listening is NULL:
            raise MemoryError("listeners")
        for i, (fd, index) in enumerate(listeners):
            if not 0 <= index < plan.n_listeners:
                raise IndexError("listener out of range")
            self.listening[i].timer.owner = TIMER_LISTENER
            self.listening[i].fd = fd
            self.listening[i].listener = index
            self.n_listening += 1
            if self._watch(i) < 0:
                raise OSError(errno, "cannot watch a listening socket")

    cdef int _make_tables(self, int slot) except -1:
        cdef Worker *w = self.w
        cdef epoll_event event
        w.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        if w.epoll_fd < 0:
            raise OSError(errno, "epoll_create1 failed")
        wheel_init(&w.wheel, w.now_ms)
        event.events = EPOLLIN
        event.data.u64 = token(KIND_TIMER, 0, 0)
        if epoll_ctl(w.epoll_fd, EPOLL_CTL_ADD, w.wheel.fd, &event) < 0:
            raise OSError(errno, "cannot watch the timer")
        slab_init(&w.exchanges, sizeof(Exchange))
        h1_make(w)
        exchange_register(ORIGIN_ENDPOINT, h1_origin_ops())
        exchange_register(ORIGIN_HERE, answer_ops())
        random_seed(&w.random)
        w.scratch_bytes = SCRATCH_BYTES
        w.scratch = <char *>malloc(SCRATCH_BYTES)
        w.cork = <char *>malloc(CORK_BYTES)
        w.budgets = <RetryBudget *>calloc(w.n_upstreams + 1, sizeof(RetryBudget))
        w.incidents = incidents_make()
        w.queues = <WaitQueue *>calloc(w.n_upstreams + 1, sizeof(WaitQueue))
        if (
            w.scratch is NULL or w.cork is NULL
            or w.budgets is NULL or w.queues is NULL
        ):
            raise MemoryError("worker")
        members_make(w)
        if not self._follow():
            raise MemoryError("worker")
        return 0

    cdef void _free_tables(self) noexcept:
        cdef Worker *w = self.w
        cdef uint32_t n
        members_free(w)
        if w.exchanges.chunks is not NULL:
            for n in range(w.exchanges.made):
                free((<Exchange *>slab_at(&w.exchanges, n)).head.data)
        log_close(&w.log, LAST_LINES_MS)
        h1_free(w)
        slab_free(&w.exchanges)
        free(w.scratch)
        free(w.cork)
        free(w.budgets)
        free(w.queues)
        free(w.incidents)
        free(w.run_queue)
        wheel_close(&w.wheel)
        if w.epoll_fd >= 0:
            close(w.epoll_fd)
        free(w)
        self.w = NULL

    def __dealloc__(self):
        if self.w is not NULL:
            self._free_tables()
        free(self.listening)

    @property
    def fd(self) -> int:
        """The epoll descriptor: readable when poll() has something to do."""
        return self.w.epoll_fd if self.w is not NULL else -1

    @property
    def connections(self) -> int:
        return clients(self.w) if self.w is not NULL else 0

    @property
    def exchanges(self) -> int:
        return self.w.exchanges.live if self.w is not NULL else 0

    def poll(self) -> None:
        """Serve what is ready, a bounded number of rounds; never blocks."""
        if self.w is not NULL:
            with nogil:
                self._run()

    def leave(self, handed_on: bytes) -> None:
        """Accept nothing more; idle clients go with their next answer, or at `drain`.

        handed_on  for each of `listeners`: not 0 = a successor accepts there, so what
                   is queued is left to it; anything else is emptied first
        """
        cdef Worker *w = self.w
        cdef int i
        if len(handed_on) != self.n_listening:
            raise ValueError("handed_on: one byte for each listening socket")
        if w is NULL or w.draining:
            return
        clock_read(w)
        for i in range(self.n_listening):
            if not handed_on[i]:
                self._accept(&self.listening[i], True)
            self._unwatch(&self.listening[i])
        w.draining = DRAIN_SOFT

    def drain(self) -> None:
        """Accept what is queued, then nothing new; let go of idle connections."""
        cdef Worker *w = self.w
        if w is NULL or w.draining == DRAIN_HARD:
            return
        self.leave(bytes(self.n_listening))
        clock_read(w)
        w.draining = DRAIN_HARD
        end_pauses(w)
        tell_all(w, KIND_CLIENT, DRAIN)
        tell_all(w, KIND_ORIGIN, DRAIN)

    def is_drained(self) -> bool:
        """Draining, and no client connection is left."""
        return self.w is NULL or (self.w.draining and clients(self.w) == 0)

    def reopen_log(self, int fd) -> None:
        """Write what is held to the old descriptor, close it, go on with `fd`."""
        if self.w is not NULL:
            log_reopen(&self.w.log, fd)

    def take_incidents(self, bint leaving=False) -> tuple[list[tuple], int]:
        """What the error log has to tell, oldest first, and how much it will not.

        leaving  also what is held back: this was the last call
        """
        cdef Worker *w = self.w
        cdef Noted noted
        cdef int64_t lost
        taken = []
        if w is NULL:
            return taken, 0
        clock_read(w)
        note_returns(w)
        incidents_release(w.incidents, w.now_ms, leaving)
        while incident_take(w.incidents, &noted):
            taken.append((
                noted.what.kind, place_of(w, noted.what.endpoint), noted.what.listener,
                fault_info(noted.what.fault).reason.decode(), noted.what.os_error,
                None if noted.what.rule is NULL else noted.what.rule.decode(),
                noted.what.rule_at, noted.line[:noted.what.line_len], noted.held,
                noted.what.route, noted.what.other_route,
            ))
            if leaving:
                incidents_release(w.incidents, w.now_ms, True)
        lost = w.incidents.lost
        w.incidents.lost = 0
        return taken, lost

    def follow(self) -> None:
        """Take in which endpoints there are, if that has changed."""
        if self.w is not NULL:
            self._follow()

    def flush_log(self) -> None:
        if self.w is not NULL:
            tick_second(self.w)
            log_flush(&self.w.log)

    def log_state(self) -> tuple[int, int, bool]:
        """Access log lines lost so far, errno of the last write, and if none waits."""
        cdef int error
        cdef bint settled
        cdef int64_t dropped
        if self.w is NULL:
            return self.dropped, 0, True
        dropped = log_dropped(&self.w.log, &error, &settled)
        fg_store(&self.w.row.log_lines_dropped, self.dropped_before + dropped)
        return dropped, error, settled

    def close(self) -> None:
        """At once: every exchange, every connection, the log's last lines."""
        cdef Worker *w = self.w
        cdef uint32_t n
        cdef Exchange *x
        cdef int i
        if w is NULL:
            return
        for i in range(self.n_listening):
            self._unwatch(&self.listening[i])
        w.draining = DRAIN_HARD
        w.closing = 1
        clock_read(w)
        for n in range(w.exchanges.made):
            x = <Exchange *>slab_at(&w.exchanges, n)
            if x.item.is_live:
                abandon(w, x, FAULT_DRAINED)
                if x.item.is_live:
                    # The client does not take the reply: it has begun, and is cut.
                    abandon(w, x, FAULT_DRAINED)
        tell_all(w, KIND_CLIENT, CLOSE)
        tell_all(w, KIND_ORIGIN, CLOSE)
        with nogil:
            log_close(&w.log, LAST_LINES_MS)
        self.dropped = w.log.dropped
        fg_store(&w.row.log_lines_dropped, self.dropped_before + self.dropped)
        self._free_tables()

    # --- the loop ----------------------------------------------------------

    cdef bint _follow(self) noexcept nogil:
        """False: for want of memory the groups are what they were."""
        cdef Worker *w = self.w
        cdef int64_t version = membership_version(w.shared)
        if version == w.members_version:
            return True
        if not members_follow(w, version):
            return False
        origins_follow(w)
        fg_store(&w.row.members_seen, version)
        return True

    cdef void _run(self) noexcept nogil:
        cdef Worker *w = self.w
        cdef epoll_event events[BATCH]
        cdef uint64_t data = 0
        cdef Conn *c
        cdef int _round, i, n
        tick_second(w)
        self._follow()
        for _round in range(ROUNDS):
            n = epoll_wait(w.epoll_fd, events, BATCH, 0)
            if n <= 0 and w.run_end == 0:
                return
            clock_read(w)
            if n > 1:
                tell_early(w, events, n)
            for i in range(n):
                data = events[i].data.u64
                if data >> 62 == KIND_LISTENER:
                    self._accept(&self.listening[<uint32_t>data], False)
                elif data >> 62 == KIND_TIMER:
                    self._timers()
                else:
                    c = conn_find(w, data)
                    if c is not NULL:
                        c.owner.event(w, c, events[i].events)
                cork_push(w)
            self._run_queue()
            if (
                _round == 0 and n == 1 and w.run_end == 0
                and data >> 62 != KIND_LISTENER
            ):
                # A quiet moment: asking whether there is more would nearly always
                # be told no. If there is, uvloop finds the descriptor readable.
                # Behind an accept there is: the request came with the connection.
                return
        if w.run_end:
            # Nothing of this is an event: come back at once all the same.
            wheel_kick(&w.wheel, w.now_ms)

    cdef void _run_queue(self) noexcept nogil:
        """One turn for every socket that asked for one."""
        cdef Worker *w = self.w
        cdef uint32_t end = w.run_end
        cdef uint32_t i
        cdef Conn *c
        if end == 0:
            return
        clock_read(w)
        for i in range(end):
            c = conn_find(w, w.run_queue[i])
            if c is not NULL:
                c.in_run_queue = 0
                c.owner.run(w, c)
            cork_push(w)
        w.run_end -= end
        memmove(w.run_queue, w.run_queue + end, w.run_end * sizeof(uint64_t))

    cdef void _timers(self) noexcept nogil:
        cdef Worker *w = self.w
        cdef uint64_t ticks
        cdef Timer *t
        cdef Conn *c
        read(w.wheel.fd, &ticks, sizeof(ticks))
        while True:
            t = wheel_expired(&w.wheel, w.now_ms)
            if t is NULL:
                break
            if t.owner == TIMER_CONN:
                c = <Conn *>(<char *>t - <size_t>&(<Conn *>NULL).timer)
                c.owner.timer(w, c)
            elif t.owner == TIMER_EXCHANGE:
                exchange_timer(
                    w, <Exchange *>(<char *>t - <size_t>&(<Exchange *>NULL).timer)
                )
            elif t.owner == TIMER_QUEUE:
                queue_timer(w, t)
            else:
                if self._watch(<int>(<Listening *>t - self.listening)) < 0:
                    timer_set(&w.wheel, t, w.now_ms + ACCEPT_PAUSE_MS)
            cork_push(w)
        wheel_arm(&w.wheel)

    # --- accepting ---------------------------------------------------------

    cdef int _watch(self, int index) noexcept nogil:
        cdef Listening *listening = &self.listening[index]
        cdef epoll_event event
        if listening.is_accepting or self.w.draining:
            return 0
        event.events = EPOLLIN
        if self.w.listeners[listening.listener].is_shared:
            event.events |= EPOLLEXCLUSIVE
        event.data.u64 = token(KIND_LISTENER, <uint32_t>index, 0)
        if epoll_ctl(self.w.epoll_fd, EPOLL_CTL_ADD, listening.fd, &event) < 0:
            return -1
        listening.is_accepting = 1
        return 0

    cdef void _unwatch(self, Listening *listening) noexcept nogil:
        cdef epoll_event event
        if listening.is_accepting:
            listening.is_accepting = 0
            epoll_ctl(self.w.epoll_fd, EPOLL_CTL_DEL, listening.fd, &event)

    cdef void _accept(self, Listening *listening, bint all_of_them) noexcept nogil:
        """Up to accept_batch connections; `all_of_them` before a drain."""
        cdef Worker *w = self.w
        cdef sockaddr_storage peer
        cdef socklen_t peer_len
        cdef int left = w.gateway.accept_batch
        cdef int fd
        while left > 0 or all_of_them:
            peer_len = sizeof(peer)
            peer.ss_family = 0
            fd = accept4(
                listening.fd, <sockaddr *>&peer, &peer_len, SOCK_NONBLOCK | SOCK_CLOEXEC
            )
            if fd < 0:
                if errno == EINTR or errno == ECONNABORTED:
                    continue
                if errno == EMFILE and left > 0 and (
                    client_retire(w) or origin_retire(w)
                ):
                    left -= 1
                    continue
                if errno != EAGAIN:
                    # Out of descriptors or memory. A listener that stays readable
                    # would make the loop spin: look away for a moment.
                    note_accept(w, INCIDENT_FILES_FULL, listening, errno)
                    self._unwatch(listening)
                    timer_set(&w.wheel, &listening.timer, w.now_ms + ACCEPT_PAUSE_MS)
                return
            left -= 1
            fg_bump(&w.row.accepted, 1)
            if <int>clients(w) >= w.gateway.max_conns:
                note_accept(w, INCIDENT_CONNECTIONS_FULL, listening, 0)
                if not client_retire(w):
                    turn_away(w, fd)
                    continue
            client_open(w, fd, listening.listener, &peer)


cdef void note_accept(
    Worker *w, int kind, const Listening *listening, int os_error
) noexcept nogil:
    """Tell the error log why a listener cannot take everyone who comes."""
    cdef Incident what = incident(kind)
    what.listener = listening.listener
    what.os_error = os_error
    incident_note(w.incidents, w.now_ms, &what)


cdef void turn_away(Worker *w, int fd) noexcept nogil:
    """At the connection limit: say so, if the socket takes it, and close.

    What the client has sent by now is discarded first, uncopied: an unread request
    would make the close a reset, which may overtake the answer.
    """
    cdef char reply[REPLY_BYTES]
    cdef ssize_t n = write_reply(
        reply, REPLY_BYTES, fault_info(FAULT_OVERLOAD).status,
        fault_info(FAULT_OVERLOAD).text, NULL,
        w.gateway.server_header.at, w.gateway.server_header.len,
        w.clock.http_date, NULL, True, False,
    )
    fg_bump(&w.row.refused, 1)
    if n > 0:
        send(fd, reply, <size_t>n, MSG_NOSIGNAL)
    recv(fd, NULL, SCRATCH_BYTES, MSG_TRUNC | MSG_DONTWAIT)
    close(fd)


cdef object place_of(const Worker *w, int endpoint):
    """The upstream of an endpoint, by its index in the plan, and its address."""
    cdef const Endpoint *e
    if endpoint < 0:
        return None
    e = &w.endpoints[endpoint]
    return e.upstream, e.address.at[:e.address.len].decode()


cdef inline uint32_t clients(const Worker *w) noexcept nogil:
    """How many connections of clients are open."""
    cdef const Slab *sockets = w.sockets[<int>KIND_CLIENT]
    return sockets.live if sockets is not NULL else 0


cdef void tell_all(Worker *w, int kind, int what) noexcept nogil:
    """Let the owners of all Conns of this kind know that we leave: DRAIN or CLOSE."""
    cdef Slab *sockets = w.sockets[kind]
    cdef Conn *c
    cdef uint32_t n
    if sockets is NULL:
        return
    for n in range(sockets.made):
        c = <Conn *>slab_at(sockets, n)
        if not c.item.is_live:
            continue
        if what == DRAIN:
            c.owner.drain(w, c)
        else:
            c.owner.close(w, c)


cdef void tell_early(Worker *w, const epoll_event *events, int n) noexcept nogil:
    """What owners want to know before the first event of a batch: see Owner.early."""
    cdef Conn *c
    cdef int i
    for i in range(n):
        if events[i].data.u64 >> 62 != KIND_ORIGIN:
            continue
        c = conn_find(w, events[i].data.u64)
        if c is not NULL:
            c.owner.early(w, c, events[i].events)


cdef void tick_second(Worker *w) noexcept nogil:
    """Once a second: the texts of the time that logs and replies show."""
    cdef timespec ts
    clock_gettime(CLOCK_REALTIME_COARSE, &ts)
    if ts.tv_sec != w.clock.second:
        clock_tick(&w.clock, ts.tv_sec)
