"""The rooms of balance that know an Attempt, without a socket or an exchange.

Runs in: tests only. Arguments are checked here, for the rooms themselves trust
their callers.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastgate.dataplane.balance cimport budget, judge, key, policies, retry
from fastgate.dataplane.balance.attempt cimport (
    MAX_TRIES, Attempt, WaitQueue, attempt_init, attempt_replay, attempt_try,
)
from fastgate.dataplane.balance.queue cimport look_again, queue_of, wait, wait_no_more
from fastgate.dataplane.base cimport address, atomics, chance, faults, wheel
from fastgate.dataplane.conn cimport conn
from fastgate.dataplane.h1.parser cimport parse_head, parser_init
from fastgate.dataplane.http.message cimport Head, HeadLimits, Parser
from fastgate.dataplane.plan.gateway cimport GatewayPlan
from fastgate.dataplane.plan.upstream cimport (
    KEY_CLIENT, KEY_COOKIE, KEY_HEADER, KEY_PATH, KEY_QUERY, UpstreamPlan,
)
from fastgate.dataplane.shared cimport slots
from fastgate.dataplane.telemetry cimport incidents

TRIES = MAX_TRIES
NO_ENDPOINT = policies.NO_ENDPOINT
NO_ROOM = policies.NO_ROOM
FAULTS = {
    faults.fault_info(i).reason.decode(): i
    for i in range(faults.FAULT_COUNT) if i != faults.FAULT_PARTIAL
}
SEQUELS = {retry.NO_MORE: "no more", retry.RETRY: "retry", retry.REPLAY: "replay"}
CAUSES = {
    "connect": faults.AGAIN_CONNECT, "reset": faults.AGAIN_RESET,
    "timeout": faults.AGAIN_TIMEOUT, "bad": faults.AGAIN_BAD,
    "status": faults.AGAIN_STATUS,
}
KINDS = {
    incidents.INCIDENT_UPSTREAM_FAILED: "failed",
    incidents.INCIDENT_ENDPOINT_EJECTED: "ejected",
    incidents.INCIDENT_ENDPOINT_BACK: "back",
}
KEYS = {
    "client": KEY_CLIENT,
    "path": KEY_PATH,
    "header": KEY_HEADER,
    "cookie": KEY_COOKIE,
    "query": KEY_QUERY,
}


def again(
    str reason, *, int retries, int most_retries, bint replayed, bint over,
    bint repeatable, bint stale, on=("connect", "reset"),
):
    """The word for what follows on a try that ended by the fault of that `reason`."""
    cdef Attempt a
    cdef UpstreamPlan u
    memset(&u, 0, sizeof(u))
    u.retries = most_retries
    for cause in on:
        u.retry_on |= 1 << <int>CAUSES[cause]
    attempt_init(&a)
    a.retries = retries
    a.replayed = replayed
    return SEQUELS[
        retry.again(&a, &u, FAULTS[reason], over, repeatable, stale)
    ]


def backoff_ms(int64_t base_ms, int retries, draw, int64_t left_ms=-1):
    if base_ms < 0 or retries < 0:
        raise ValueError((base_ms, retries))
    return retry.backoff_ms(base_ms, retries, draw, left_ms)


cdef class Upstream:
    """All endpoints of a region in one upstream of its worker 0, by round robin.

    Attempts are told apart by number. The clock begins at 1000 ms.
    """

    def __cinit__(
        self, slots.Region region, *, int retry_budget_percent=20,
        int eject_failures=0, int64_t eject_for_ms=0, int queue=0,
    ):
        cdef conn.Worker *w = <conn.Worker *>calloc(1, sizeof(conn.Worker))
        cdef int n = region.shared.n_endpoints
        cdef int i
        self.worker = w
        self.region = region
        memset(&self.plan, 0, sizeof(self.plan))
        self.plan.retry_budget_percent = retry_budget_percent
        self.plan.eject_failures = eject_failures
        self.plan.eject_for_ms = eject_for_ms
        self.plan.queue = queue
        w.upstream_plans = &self.plan
        w.n_upstreams = 1
        w.n_endpoints = n
        w.n_used = n
        w.shared = &region.shared
        w.row = slots.worker_row(w.shared, 0)
        w.now_ms = 1000
        wheel.wheel_init(&w.wheel, w.now_ms)
        chance.random_seed(&w.random)
        w.incidents = incidents.incidents_make()
        w.ejected = <unsigned char *>calloc(n, 1)
        w.budgets = <budget.RetryBudget *>calloc(1, sizeof(budget.RetryBudget))
        w.queues = <WaitQueue *>calloc(1, sizeof(WaitQueue))
        w.groups = <policies.Group *>calloc(1, sizeof(policies.Group))
        policies.group_init(
            w.groups, policies.policy_named("round-robin"), n, 0, 0
        )
        for i in range(n):
            w.groups.members[i] = i
        for i in range(ATTEMPTS):
            attempt_init(&self.attempts[i])
            self.attempts[i].upstream = 0

    def __dealloc__(self):
        cdef conn.Worker *w = self.worker
        policies.group_free(w.groups)
        wheel.wheel_close(&w.wheel)
        free(w.groups)
        free(w.queues)
        free(w.budgets)
        free(w.ejected)
        free(w.incidents)
        free(w)

    cdef Attempt *at(self, int number) except NULL:
        if not 0 <= number < ATTEMPTS:
            raise IndexError(number)
        return &self.attempts[number]

    cdef int endpoint(self, int index) except -1:
        if not 0 <= index < self.worker.n_endpoints:
            raise IndexError(index)
        return index

    # choosing

    def choose(self, int number):
        """An endpoint, NO_ROOM or NO_ENDPOINT."""
        return judge.choose(self.worker, self.at(number))

    def take(self, int number, int endpoint):
        """Lease `endpoint`, and try it."""
        cdef Attempt *a = self.at(number)
        if a.n_tried >= MAX_TRIES or a.endpoint >= 0:
            raise ValueError(number)
        slots.lease(self.worker.shared, 0, self.endpoint(endpoint))
        attempt_try(a, endpoint)

    def replay(self, int number):
        """The try was none."""
        judge.release_lease(self.worker, self.at(number), faults.FAULT_NONE, False)
        attempt_replay(self.at(number))

    def tried(self, int number):
        cdef Attempt *a = self.at(number)
        return [a.tried[i] for i in range(a.n_tried)]

    # judging

    def answer(self, int number, int64_t answer_us):
        if self.at(number).endpoint < 0:
            raise ValueError(number)
        judge.note_answer(self.worker, self.at(number), answer_us)

    def release(self, int number, str reason="-", bint tunnel=False):
        judge.release_lease(self.worker, self.at(number), FAULTS[reason], tunnel)

    def tell(
        self, int number, str reason, *, int os_error=0, bytes rule=None,
        int rule_at=0, bytes line=None,
    ):
        """Tell the error log of a failed try."""
        self.at(number).os_error = os_error
        judge.note_failure(
            self.worker, self.at(number), FAULTS[reason],
            NULL if rule is None else <const char *>rule, rule_at,
            NULL if line is None else <const char *>line, len(line or b""),
        )

    def charge_retry(self, int number):
        return bool(retry.charge_retry(self.worker, self.at(number)))

    def pay_retry(self, int number):
        return bool(retry.pay_retry(self.worker, self.at(number)))

    def has_another(self, int number, bint heed_marks=True):
        return bool(judge.has_another(self.worker, self.at(number), heed_marks))

    def give_verdict(self, int number, str reason):
        self.at(number).verdict = FAULTS[reason]

    def set_full(self, int endpoint, bint is_full=True):
        policies.set_full(self.worker.groups, self.endpoint(endpoint), is_full)

    def retries(self, int number):
        """Of that attempt, and of the worker."""
        return self.at(number).retries, self.worker.row.retries

    def told(self):
        """What the error log has been told since: (kind, endpoint, rest) each."""
        cdef incidents.Noted noted
        all = []
        while incidents.incident_take(self.worker.incidents, &noted):
            all.append((
                KINDS[noted.what.kind], noted.what.endpoint, {
                    "reason": faults.fault_info(noted.what.fault).reason.decode(),
                    "os_error": noted.what.os_error,
                    "rule": None if noted.what.rule is NULL else noted.what.rule,
                    "rule_at": noted.what.rule_at,
                    "line": noted.line[:noted.what.line_len],
                },
            ))
        return all

    def failures(self, int endpoint):
        """In a row, as all workers see it."""
        cdef slots.EndpointSlot *slot = slots.endpoint_slot(
            self.worker.shared, self.endpoint(endpoint)
        )
        return atomics.fg_load32(&slot.consecutive_failures)

    def latency_ns(self, int endpoint):
        cdef slots.EndpointSlot *slot = slots.endpoint_slot(
            self.worker.shared, self.endpoint(endpoint)
        )
        return atomics.fg_load(&slot.latency_ns)

    # waiting

    def wait(self, int number, int64_t asked_us):
        self.at(number).asked_us = asked_us
        return bool(wait(self.worker, self.at(number)))

    def leave(self, int number):
        if number not in self.waiting():
            raise ValueError(number)
        wait_no_more(self.worker, self.at(number))

    def waiting(self):
        """Who stands in the queue, read from either end."""
        cdef WaitQueue *q = self.worker.queues
        cdef Attempt *a = q.first
        forth, back = [], []
        while a is not NULL:
            forth.append(a - self.attempts)
            a = a.next
        a = q.last
        while a is not NULL:
            back.append(a - self.attempts)
            a = a.prev
        if back != forth[::-1] or q.n != len(forth):
            raise AssertionError(f"{forth} forth, {back} back, {q.n} counted")
        return forth

    def turn_clock(self, int64_t by_ms):
        """Let time pass; how often the queue was looked at."""
        cdef conn.Worker *w = self.worker
        cdef wheel.Timer *t
        cdef int looks = 0
        w.now_ms += by_ms
        while True:
            t = wheel.wheel_expired(&w.wheel, w.now_ms)
            if t is NULL:
                break
            looks += 1
            look_again(w, queue_of(w, t))
        judge.note_returns(w)
        return looks


def balancing_key(
    bytes request, *, str balance="hash", str kind="client", bytes name=b"",
    bytes peer=b"192.0.2.1", bint trusted=False,
):
    """The key of a request by `peer`; 10.0.0.0/8 are trusted proxies too."""
    cdef conn.Worker *w = <conn.Worker *>calloc(1, sizeof(conn.Worker))
    cdef UpstreamPlan upstream
    cdef GatewayPlan gateway
    cdef address.Cidr proxies
    cdef Parser parser
    cdef HeadLimits limits
    cdef Head *head = <Head *>calloc(1, sizeof(Head))
    cdef size_t used = 0
    memset(&upstream, 0, sizeof(upstream))
    memset(&gateway, 0, sizeof(gateway))
    upstream.policy = policies.policy_named(balance)
    upstream.hash_key_kind = KEYS[kind]
    upstream.hash_key_name.at = name
    upstream.hash_key_name.len = len(name)
    address.parse_address(b"10.0.0.0", 8, proxies.address)
    proxies.bits = 96 + 8
    gateway.trusted_proxies = &proxies
    gateway.n_trusted_proxies = 1
    w.upstream_plans = &upstream
    w.gateway = &gateway
    memset(&limits, 0, sizeof(limits))
    limits.max_head_bytes = limits.max_target_bytes = 8192
    limits.max_fields = 64
    parser_init(&parser, False, False)
    try:
        if parse_head(
            &parser, head, &limits, request, len(request), 0, &used
        ) != faults.FAULT_NONE:
            raise ValueError(request)
        return key.balancing_key(w, 0, peer, len(peer), trusted, head)
    finally:
        free(head)
        free(w)
