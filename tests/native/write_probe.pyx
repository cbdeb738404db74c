"""Heads built from Python values, and the writers that turn them into bytes.

Runs in: tests only.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from fastgate.dataplane.base.address cimport Cidr, parse_address
from fastgate.dataplane.base.faults cimport fault_info
from fastgate.dataplane.h1.parser cimport parse_head, parser_init
from fastgate.dataplane.h1.write cimport (
    write_reply as c_write_reply, write_request, write_response,
)
from fastgate.dataplane.http.client cimport client_address
from fastgate.dataplane.http.fields cimport header_id
from fastgate.dataplane.http.message cimport (
    Field, H_COUNT, HeadLimits, MAX_FIELDS, MAX_HEAD_BYTES, MAX_HEADER_IDS, Parser,
)
from fastgate.dataplane.http.outgoing cimport settle_request, settle_response
from fastgate.dataplane.http.rules cimport RULE_ADD, RULE_REMOVE, RULE_SET
from fastgate.dataplane.http.status cimport reason_phrase as c_phrase

NEW_IDS = range(H_COUNT, MAX_HEADER_IDS)     # which no name has yet

OPS = {"set": RULE_SET, "add": RULE_ADD, "remove": RULE_REMOVE}


cdef int64_t now_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <int64_t>t.tv_sec * 1000000000 + t.tv_nsec


cdef object outcome(const char *out, ssize_t n, size_t room):
    """The bytes written, or the word of the fault; checks the guard bytes."""
    cdef size_t i
    for i in range(64):
        if out[room + i] != <char>0xa5:
            raise AssertionError("wrote past its room")
    if n < 0:
        return fault_info(<int>-n).reason.decode()
    return out[:n]


cdef char *guarded(size_t room) except NULL:
    cdef char *out = <char *>malloc(room + 64)
    if out is NULL:
        raise MemoryError
    memset(out, 0xa5, room + 64)
    return out


cdef class Message:
    """Owns a Head and whatever Python bytes its spans borrow."""

    def __cinit__(self, *args, **kwargs):
        self.kept = []
        self.head = <Head *>calloc(1, sizeof(Head))
        if self.head is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.head)
        free(self.rules)

    cdef const char *keep(self, object text, uint32_t *length):
        """Keep the bytes alive as long as the head that borrows them."""
        cdef bytes exact = bytes(text)
        self.kept.append(exact)
        length[0] = <uint32_t>len(exact)
        return exact

    cdef void fill(self, list fields, dict start) except *:
        cdef Head *h = self.head
        cdef Field *f
        cdef uint32_t n
        cdef int i
        memset(h.field_of, 0xFF, sizeof(h.field_of))
        if len(fields) > MAX_FIELDS:
            raise ValueError("too many fields")
        for i, row in enumerate(fields):
            f = &h.fields[i]
            f.name = self.keep(row[0], &n)
            f.name_len = <unsigned short>n
            f.value = self.keep(row[1], &f.value_len)
            f.dropped = len(row) > 2 and row[2]
            f.id = <uint8_t>header_id(f.name, n)
            if h.field_of[f.id] < 0:
                h.field_of[f.id] = i
        h.n_fields = <unsigned short>len(fields)
        h.minor = start.pop("minor", 1)
        h.chunked = start.pop("chunked", False)
        h.content_length = start.pop("content_length", -1)
        h.status = start.pop("status", 0)
        h.method_name = self.keep(start.pop("method", b"GET"), &h.method_len)
        path = start.pop("path", b"/")
        h.path_len = h.raw_path_len = <uint32_t>len(path)
        h.raw_path = self.keep(path + start.pop("query", b""), &h.query_len)
        h.path = h.raw_path
        h.query = h.raw_path + h.path_len
        h.query_len -= h.path_len
        h.authority = self.keep(start.pop("authority", b""), &h.authority_len)
        h.reason = self.keep(start.pop("reason", b""), &h.reason_len)
        h.upgrade_value = self.keep(start.pop("upgrade", b""), &h.upgrade_len)
        h.upgrade = h.upgrade_len > 0

    def call(self, bytes name, int id):
        """Give the fields and rules of that name another HeaderId."""
        cdef int i
        for i in range(self.head.n_fields):
            if self.head.fields[i].name[:self.head.fields[i].name_len] == name:
                self.head.fields[i].id = <uint8_t>id
        i = 0
        while self.rules[i].name is not NULL:
            if self.rules[i].name[:self.rules[i].name_len] == name:
                self.rules[i].id = <uint8_t>id
            i += 1
        return self

    cdef void fill_rules(self, Rules *out, list rules) except *:
        cdef int i
        cdef uint32_t n
        cdef Rule *rule
        free(self.rules)
        self.rules = <Rule *>calloc(len(rules) + 1, sizeof(Rule))
        for i, (op, name, value) in enumerate(rules):
            rule = &self.rules[i]
            rule.op = OPS[op]
            rule.name = self.keep(name, &n)
            rule.name_len = <unsigned short>n
            rule.value = self.keep(value, &rule.value_len)
            rule.id = <uint8_t>header_id(rule.name, n)
        out.n = <int>len(rules)
        out.rules = self.rules


cdef class RequestProbe(Message):
    """A request and all that decides how it is written upstream."""

    def __init__(
        self, fields=(), *, rules=(), host=None, x_forwarded=False, forwarded=False,
        request_id=False, via=None, peer=b"192.0.2.7", v6=False, trusted=False,
        port=b"8080", scheme=b"http", own_id=b"0" * 32, tunnel=False,
        dashes=False, **start,
    ):
        cdef uint32_t n
        self.fill(list(fields), start)
        if start:
            raise TypeError(f"unknown: {sorted(start)}")
        if host is not None:
            self.shape.host = self.keep(host, &self.shape.host_len)
        self.shape.x_forwarded = x_forwarded
        self.shape.forwarded = forwarded
        self.shape.request_id = request_id
        if via is not None:
            self.shape.via = self.keep(via, &self.shape.via_len)
        self.fill_rules(&self.shape.rules, list(rules))
        self.shape.rules.dashes = dashes
        self.facts.peer = self.keep(peer, &self.facts.peer_len)
        self.facts.peer_is_v6 = v6
        self.facts.trusted = trusted
        self.facts.port = self.keep(port, &self.facts.port_len)
        self.facts.scheme = self.keep(scheme, &self.facts.scheme_len)
        self.facts.request_id = self.keep(own_id, &n)
        self.facts.tunnel = tunnel

    def read(self, bytes raw):
        """Take the head from bytes, as a client sends it; the word of a fault."""
        cdef Parser parser
        cdef HeadLimits limits
        memset(&limits, 0, sizeof(limits))
        limits.max_head_bytes = MAX_HEAD_BYTES
        limits.max_fields = 250
        limits.max_target_bytes = 8192
        cdef size_t consumed = 0
        self.kept.append(raw)
        parser_init(&parser, False, False)
        cdef int fault = parse_head(
            &parser, self.head, &limits, raw, len(raw), 0, &consumed
        )
        return fault_info(fault).reason.decode()

    def write(self, size_t room=65536):
        """The bytes that go upstream, or the word of the fault."""
        cdef char *out = guarded(room)
        settle_request(&self.shape)
        cdef ssize_t n = write_request(
            out, room, self.head, &self.shape, &self.facts
        )
        try:
            return outcome(out, n, room)
        finally:
            free(out)

    def time_ns(self, int rounds):
        """Nanoseconds of one write, over so many rounds."""
        cdef char out[65536]
        cdef ssize_t total = 0
        cdef int64_t began
        cdef int _round
        settle_request(&self.shape)
        with nogil:
            began = now_ns()
            for _round in range(rounds):
                total += write_request(
                    out, 65536, self.head, &self.shape, &self.facts
                )
            began = now_ns() - began
        if total <= 0:
            raise AssertionError("the request was refused")
        return began / rounds


cdef class ResponseProbe(Message):
    """A response and all that decides how it is written to the client."""

    def __init__(
        self, fields=(), *, rules=(), server=None, via=None, length=-1,
        send_chunked=False, bodiless=False, close=False, client_minor=1,
        tunnel=False, date=None, **start,
    ):
        cdef uint32_t n
        self.date = NULL if date is None else self.keep(date, &n)
        start.setdefault("status", 200)
        self.fill(list(fields), start)
        if start:
            raise TypeError(f"unknown: {sorted(start)}")
        if server is not None:
            self.shape.server = self.keep(server, &self.shape.server_len)
        if via is not None:
            self.shape.via = self.keep(via, &self.shape.via_len)
        self.fill_rules(&self.shape.rules, list(rules))
        self.framing.content_length = length
        self.framing.chunked = send_chunked
        self.framing.bodiless = bodiless
        self.framing.close = close
        self.framing.client_minor = client_minor
        self.framing.tunnel = tunnel

    def write(self, size_t room=65536):
        """The bytes that go to the client, or the word of the fault."""
        cdef char *out = guarded(room)
        settle_response(&self.shape)
        cdef ssize_t n = write_response(
            out, room, self.head, &self.shape, &self.framing, self.date
        )
        try:
            return outcome(out, n, room)
        finally:
            free(out)

    def time_ns(self, int rounds):
        """Nanoseconds of one write, over so many rounds."""
        cdef char out[65536]
        cdef ssize_t total = 0
        cdef int64_t began
        cdef int _round
        settle_response(&self.shape)
        with nogil:
            began = now_ns()
            for _round in range(rounds):
                total += write_response(
                    out, 65536, self.head, &self.shape, &self.framing, self.date
                )
            began = now_ns() - began
        if total <= 0:
            raise AssertionError("the response was refused")
        return began / rounds


def write_reply(
    int status, bytes text=b"", *, bytes server=b"", bytes date=None,
    bytes allow=None, bint close=False, bint head_only=False, size_t room=4096,
):
    """One of the gateway's own answers, or the word of the fault."""
    cdef char *out = guarded(room)
    cdef const char *c_date = NULL
    cdef const char *c_allow = NULL
    if date is not None:
        c_date = date
    if allow is not None:
        c_allow = allow
    cdef ssize_t n = c_write_reply(
        out, room, status, text, NULL, server, <uint32_t>len(server), c_date, c_allow,
        close, head_only,
    )
    try:
        return outcome(out, n, room)
    finally:
        free(out)


def reason_phrase(int status):
    """The standard phrase of a status."""
    return c_phrase(status)


def client_of(bytes peer, fields=(), trusted=()):
    """Whose request it is; `trusted` are (address, bits) of the mapped form."""
    cdef RequestProbe probe = RequestProbe(fields)
    cdef Cidr cidrs[16]
    cdef char out[64]
    cdef size_t n
    cdef int i
    for i, (text, bits) in enumerate(trusted):
        if not parse_address(text, len(text), cidrs[i].address):
            raise ValueError(text)
        cidrs[i].bits = bits
    n = client_address(
        probe.head, cidrs, <int>len(trusted), peer, len(peer), out, 64
    )
    return out[:n]
