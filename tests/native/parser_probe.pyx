"""The rooms parser and canonical, opened to pytest.

Runs in: tests only. Every call gets its bytes in a fresh allocation of exactly
their size, and the Head is filled with 0xAA first, so that a read past the end, a
stale span or a field that was left unset does not stay hidden. The `time_*`
functions loop in C and return nanoseconds a turn.
"""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from fastgate.dataplane.base cimport faults
from fastgate.dataplane.h1.chunked cimport read_chunked
from fastgate.dataplane.h1.parser cimport parse_head, parser_init
from fastgate.dataplane.http cimport canonical, message
from fastgate.dataplane.http.fields cimport (
    header_id as c_header_id, same_name as c_same_name,
)
from fastgate.dataplane.native cimport llhttp as native

NAMES = {
    value: name
    for name, value in {
        "none": faults.FAULT_NONE,
        "partial": faults.FAULT_PARTIAL,
        "bad-request": faults.FAULT_BAD_REQUEST,
        "bad-framing": faults.FAULT_BAD_FRAMING,
        "bad-host": faults.FAULT_BAD_HOST,
        "bad-target": faults.FAULT_BAD_TARGET,
        "ambiguous-path": faults.FAULT_AMBIGUOUS_PATH,
        "bad-header": faults.FAULT_BAD_HEADER,
        "bad-connection": faults.FAULT_BAD_CONNECTION,
        "bad-chunk": faults.FAULT_BAD_CHUNK,
        "bad-trailer": faults.FAULT_BAD_TRAILER,
        "header-too-large": faults.FAULT_HEAD_TOO_LARGE,
        "too-many-headers": faults.FAULT_TOO_MANY_FIELDS,
        "target-too-long": faults.FAULT_TARGET_TOO_LONG,
        "method-unknown": faults.FAULT_METHOD_UNKNOWN,
        "method-connect": faults.FAULT_METHOD_CONNECT,
        "version": faults.FAULT_VERSION,
        "transfer-coding": faults.FAULT_TRANSFER_CODING,
        "expectation": faults.FAULT_EXPECTATION,
        "upstream-bad-response": faults.FAULT_UPSTREAM_BAD,
        "upstream-header-too-large": faults.FAULT_UPSTREAM_HEAD,
    }.items()
}
UNDERSCORES = {
    "safe": message.UNDERSCORES_SAFE,
    "drop": message.UNDERSCORES_DROP,
    "pass": message.UNDERSCORES_PASS,
}
H_OTHER = message.H_OTHER
H_COUNT = message.H_COUNT
H_HOST = message.H_HOST
H_COOKIE = message.H_COOKIE
H_X_FORWARDED_OTHER = message.H_X_FORWARDED_OTHER


cdef double now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec * 1e9 + now.tv_nsec


cdef bytes span(const char *at, size_t n):
    return at[:n] if n else b""


cdef dict describe(const message.Head *h):
    cdef int i
    fields = []
    for i in range(h.n_fields):
        fields.append((
            span(h.fields[i].name, h.fields[i].name_len),
            span(h.fields[i].value, h.fields[i].value_len),
            h.fields[i].id,
            bool(h.fields[i].dropped),
        ))
    return {
        "method": span(h.method_name, h.method_len),
        "minor": h.minor,
        "idempotent": bool(h.idempotent),
        "keep_alive": bool(h.keep_alive),
        "chunked": bool(h.chunked),
        "upgrade": bool(h.upgrade),
        "has_body": bool(h.has_body),
        "status": h.status,
        "content_length": h.content_length,
        "target": span(h.target, h.target_len),
        "line": span(h.line, h.line_len),
        "host": span(h.host, h.host_len),
        "authority": span(h.authority, h.authority_len),
        "path": span(h.path, h.path_len),
        "raw_path": span(h.raw_path, h.raw_path_len),
        "query": span(h.query, h.query_len),
        "reason": span(h.reason, h.reason_len),
        "upgrade_value": span(h.upgrade_value, h.upgrade_len),
        "field_of": [h.field_of[i] for i in range(message.H_COUNT)],
        "fields": fields,
    }


cdef class Wire:
    def __cinit__(
        self, bint response=False, *, uint32_t max_head_bytes=32768,
        uint32_t max_fields=128, uint32_t max_target_bytes=16384,
        underscores="safe", bint lenient=False,
    ):
        self.head_ = <Head *>malloc(sizeof(Head))
        if self.head_ is NULL:
            raise MemoryError
        self.limits.max_head_bytes = max_head_bytes
        self.limits.max_fields = max_fields
        self.limits.max_target_bytes = max_target_bytes
        self.limits.underscores = UNDERSCORES[underscores]
        parser_init(&self.parser, response, lenient)

    def __dealloc__(self):
        free(self.head_)
        free(self.buf)

    cdef int refill(self, bytes data) except -1:
        cdef char *fresh = <char *>malloc(len(data) or 1)
        if fresh is NULL:
            raise MemoryError
        memcpy(fresh, <const char *>data, len(data))
        free(self.buf)
        self.buf = fresh
        return 0

    def head(self, bytes data, size_t already=0):
        """One call of parse_head: (fault, consumed, the Head as a dict or None)."""
        cdef size_t consumed
        cdef size_t n = len(data)
        cdef int fault
        if already > n:
            raise ValueError("already")
        self.refill(data)
        memset(self.head_, 0xAA, sizeof(Head))
        with nogil:
            fault = parse_head(
                &self.parser, self.head_, &self.limits,
                self.buf, n, already, &consumed
            )
        if consumed > n:
            raise AssertionError("consumed more than there is")
        told = describe(self.head_) if fault == faults.FAULT_NONE else None
        return NAMES[fault], consumed, told

    @property
    def rule(self):
        """The rule that the last head broke, and where, or None."""
        if self.head_.rule is NULL:
            return None
        return self.head_.rule.decode(), self.head_.rule_at

    def chunked(self, bytes data):
        """One call of read_chunked: (fault, consumed, body, done)."""
        cdef size_t consumed, body_at, body_len
        cdef bint done
        cdef size_t n = len(data)
        cdef int fault
        self.refill(data)
        with nogil:
            fault = read_chunked(
                &self.parser, self.buf, n, &consumed, &body_at, &body_len, &done
            )
        if fault:
            return NAMES[fault], 0, b"", False
        if consumed > n or body_at + body_len > consumed:
            raise AssertionError("out of bounds")
        return "none", consumed, self.buf[body_at:body_at + body_len], bool(done)


def methods_of_llhttp():
    """The names that the bound llhttp has, by its numbers; 46 is QUERY, the last."""
    return [native.llhttp_method_name(number) for number in range(47)]


def header_id(bytes name):
    return c_header_id(name, len(name))


def same_name(bytes a, bytes b):
    return len(a) == len(b) and c_same_name(a, b, len(a))


def canonical_host(bytes text):
    """(host, authority, port), or the fault's name."""
    cdef canonical.HostForm form
    cdef char out[canonical.HOST_ROOM]
    cdef size_t n = len(text)
    cdef char *at = <char *>malloc(n or 1)
    memcpy(at, <const char *>text, n)
    try:
        fault = canonical.canonical_host(at, n, out, &form)
        if fault:
            return NAMES[fault]
        return (
            span(form.host, form.host_len),
            span(form.authority, form.authority_len),
            form.port,
        )
    finally:
        free(at)


ODD = {
    "slashes": canonical.ODD_SLASHES,
    "dots": canonical.ODD_DOTS,
    "semicolon": canonical.ODD_SEMICOLON,
    "backslash": canonical.ODD_BACKSLASH,
    "escaped-dot": canonical.ODD_ESCAPED_DOT,
    "escaped-slash": canonical.ODD_ESCAPED_SLASH,
    "escaped-percent": canonical.ODD_ESCAPED_PERCENT,
    "escaped-semicolon": canonical.ODD_ESCAPED_SEMICOLON,
    "escaped-backslash": canonical.ODD_ESCAPED_BACKSLASH,
    "unreserved": canonical.ODD_UNRESERVED,
    "reserved": canonical.ODD_RESERVED,
}


def oddities(bytes text):
    """The names of what is odd in a target's path."""
    cdef canonical.TargetForm form
    cdef char out[4096]
    if canonical.canonical_target(text, len(text), out, 4096, &form):
        raise ValueError(text)
    return {name for name, bit in ODD.items() if form.odd & <uint32_t>bit}


def canonical_target(bytes text, size_t room=4096):
    """(path, query), or the fault's name."""
    cdef canonical.TargetForm form
    cdef size_t n = len(text)
    cdef char *at = <char *>malloc(n or 1)
    cdef char *out = <char *>malloc(room or 1)
    memcpy(at, <const char *>text, n)
    try:
        fault = canonical.canonical_target(at, n, out, room, &form)
        if fault:
            return NAMES[fault]
        return span(form.path, form.path_len), span(form.query, form.query_len)
    finally:
        free(at)
        free(out)


def target_is_borrowed(bytes text):
    """Whether the path was recognised as canonical and not copied."""
    cdef canonical.TargetForm form
    cdef char out[4096]
    cdef const char *at = text
    if canonical.canonical_target(at, len(text), out, 4096, &form):
        raise ValueError(text)
    return form.path == at


# --- time, in nanoseconds a turn


def time_head(Wire side, bytes data, int64_t n):
    cdef const char *at = data
    cdef size_t size = len(data)
    cdef size_t consumed = 0
    cdef double start
    cdef int fault = 0
    cdef int64_t _i
    with nogil:
        start = now_ns()
        for _i in range(n):
            fault |= parse_head(
                &side.parser, side.head_, &side.limits, at, size, 0, &consumed
            )
        start = now_ns() - start
    if fault or consumed != size:
        raise ValueError(data)
    return start / n


def time_chunked(Wire side, bytes head, bytes body, int64_t n):
    """A chunked message, head included; the body is copied afresh each turn."""
    cdef const char *at = head
    cdef const char *source = body
    cdef size_t head_size = len(head)
    cdef size_t size = len(body)
    cdef size_t consumed = 0
    cdef size_t body_at = 0
    cdef size_t body_len = 0
    cdef bint done = False
    cdef char *buf = <char *>malloc(size or 1)
    cdef double start
    cdef int fault = 0
    cdef int64_t _i
    with nogil:
        start = now_ns()
        for _i in range(n):
            memcpy(buf, source, size)
            fault |= parse_head(
                &side.parser, side.head_, &side.limits, at, head_size, 0, &consumed
            )
            fault |= read_chunked(
                &side.parser, buf, size, &consumed, &body_at, &body_len, &done
            )
        start = now_ns() - start
    free(buf)
    if fault or not done:
        raise ValueError(body)
    return start / n


def time_header_id(bytes name, int64_t n):
    cdef const char *at = name
    cdef size_t size = len(name)
    cdef double start
    cdef int64_t sum_ = 0
    cdef int64_t _i
    with nogil:
        start = now_ns()
        for _i in range(n):
            sum_ += <int64_t>c_header_id(at, size)
        start = now_ns() - start
    return start / n if sum_ >= 0 else 0.0


cdef int stop_here(void *parser) noexcept nogil:
    return native.HPE_PAUSED


def time_bare_llhttp(bytes data, int64_t n):
    """The floor: llhttp over the same head with no callback but the last."""
    cdef native.LlhttpSettings settings
    cdef native.LlhttpFields parser
    cdef const char *at = data
    cdef size_t size = len(data)
    cdef double start
    cdef int64_t _i
    native.llhttp_settings_init(&settings)
    settings.on_headers_complete = stop_here
    with nogil:
        start = now_ns()
        for _i in range(n):
            native.llhttp_init(&parser, native.LLHTTP_REQUEST, &settings)
            native.llhttp_execute(&parser, at, size)
        start = now_ns() - start
    return start / n


def time_trickle(bytes data):
    """Nanoseconds to read one head that comes a byte at a time."""
    cdef Wire side = Wire()
    cdef const char *at = data
    cdef size_t size = len(data)
    cdef size_t consumed = 0
    cdef size_t n
    cdef double start
    cdef int fault = 0
    with nogil:
        start = now_ns()
        for n in range(1, size + 1):
            fault = parse_head(
                &side.parser, side.head_, &side.limits, at, n, n - 1, &consumed
            )
        start = now_ns() - start
    if fault or consumed != size:
        raise ValueError(data)
    return start
