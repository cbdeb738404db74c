"""The fuzz targets of the room parser, and a small mutator to drive them.

Runs in: tests only. A target returns 0, or the number of the property that the
input breaks (PROPERTIES). Every call reads its bytes right before a page that may
not be touched, and so lie the Head and the Parser: a step past the end of any of
them is a crash even without a sanitizer.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset
from posix.mman cimport (
    MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE, mmap,
    mprotect,
)
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from fastgate.dataplane.base cimport faults
from fastgate.dataplane.h1.chunked cimport read_chunked
from fastgate.dataplane.h1.parser cimport parse_head, parser_init
from fastgate.dataplane.http cimport canonical
from fastgate.dataplane.http.message cimport (
    H_COUNT, MAX_FIELDS, MAX_HEAD_BYTES, Head, HeadLimits, Parser,
)
from fastgate.dataplane.route cimport readings
from fastgate.dataplane.route.router cimport Router, RouteQuery, route

PROPERTIES = {
    1: "consumed lies within the bytes that were given",
    2: "a cut stream has the fault of the whole one",
    3: "a cut stream has the length of the whole one",
    4: "a cut stream has the Head of the whole one",
    5: "every span lies in the buffer or in the scratch",
    6: "no name or value holds NUL, CR or LF, and no name is empty",
    7: "a body has a length or chunks, not both",
    8: "the path is canonical",
    9: "the host is canonical",
    10: "field_of names the first field of each id",
    11: "a body lies within the bytes that were given",
    12: "a cut body has the fault of the whole one",
    13: "a cut body has the bytes and the end of the whole one",
    14: "a response's fault is the upstream's",
    15: "a fault is one of those documented",
    16: "the readings of a path are judged by two different routes, or refused",
}

cdef enum:
    PAGE = 4096
    ARENA = 262144              # bytes before the guard page
    MAX_INPUT = 131072
    MAX_CUTS = 7

cdef struct Outcome:            # of one pass over a stream
    int fault
    size_t consumed
    int body_fault
    size_t body_end
    size_t body_len
    bint done
    uint64_t sum                # of the Head, spans by content

cdef struct Script:
    size_t cuts[MAX_CUTS + 1]
    int n_cuts
    HeadLimits limits
    bint response
    bint lenient
    const uint8_t *message
    size_t size

cdef char *arena
cdef Head *head            # both end where a guard page begins
cdef Parser *parser
cdef uint8_t bodies[2][MAX_INPUT]
cdef uint8_t stream[MAX_INPUT]      # of one pass: parse_head changes folds in it


cdef char *guarded(size_t n) except NULL:
    """The end of at least n bytes, followed by a page that may not be touched."""
    cdef size_t size = (n + PAGE - 1) // PAGE * PAGE
    cdef void *base = mmap(
        NULL, size + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0
    )
    if base == MAP_FAILED or mprotect(<char *>base + size, PAGE, PROT_NONE) != 0:
        raise MemoryError
    return <char *>base + size


arena = guarded(ARENA) - ARENA
head = <Head *>(guarded(sizeof(Head)) - sizeof(Head))
parser = <Parser *>(guarded(sizeof(Parser)) - sizeof(Parser))


cdef char *place(const uint8_t *data, size_t n) noexcept nogil:
    """Copy n bytes so that the last one is followed by the guard page."""
    cdef char *at = arena + ARENA - n
    memcpy(at, data, n)
    return at


cdef uint64_t mix(uint64_t sum_, const char *at, size_t n) noexcept nogil:
    """FNV-1a, the length included."""
    cdef size_t i
    sum_ = (sum_ ^ n) * <uint64_t>1099511628211U
    for i in range(n):
        sum_ = (sum_ ^ <uint8_t>at[i]) * <uint64_t>1099511628211U
    return sum_


cdef bint is_within(
    const char *at, size_t n, const char *buf, size_t size
) noexcept nogil:
    if n == 0:
        return True
    if at >= buf and at + n <= buf + size:
        return True
    return at >= head.canon and at + n <= head.canon + sizeof(head.canon)


cdef uint64_t sum_head() noexcept nogil:
    cdef uint64_t sum_ = 14695981039346656037U
    cdef Head *h = head
    cdef int i
    sum_ = mix(sum_, <const char *>&h.method, 8)
    sum_ = mix(sum_, <const char *>&h.content_length, 8)
    sum_ = mix(sum_, <const char *>&h.field_of[0], sizeof(h.field_of))
    sum_ = mix(sum_, h.line, h.line_len)
    sum_ = mix(sum_, h.host, h.host_len)
    sum_ = mix(sum_, h.authority, h.authority_len)
    sum_ = mix(sum_, h.path, h.path_len)
    sum_ = mix(sum_, h.query, h.query_len)
    sum_ = mix(sum_, h.reason, h.reason_len)
    sum_ = mix(sum_, h.upgrade_value, h.upgrade_len)
    for i in range(h.n_fields):
        sum_ = mix(sum_, h.fields[i].name, h.fields[i].name_len)
        sum_ = mix(sum_, h.fields[i].value, h.fields[i].value_len)
        sum_ = mix(sum_, <const char *>&h.fields[i].id, 2)
    return sum_


cdef bint is_clean(const char *at, size_t n) noexcept nogil:
    cdef size_t i
    for i in range(n):
        if at[i] == 0 or at[i] == c"\r" or at[i] == c"\n":
            return False
    return True


# The paths that the mutator makes are bent in one of these often enough.
cdef Router SITE = Router(
    [(None, "prefix", path, i) for i, path in enumerate(("/", "/a", "/b", "/a/b"))]
)


cdef bint is_judged(const Head *h) noexcept nogil:
    """Whether the readings of an odd path come to a documented end."""
    cdef RouteQuery query
    cdef int32_t other
    cdef int chosen
    cdef int fault
    query.host = h.host
    query.host_len = 0
    query.path = h.path
    query.path_len = h.path_len
    chosen = route(SITE.table, &query)
    fault = readings.judge_path(
        SITE.table, &query, chosen, h.odd, h.raw_path, h.raw_path_len,
        readings.PATHS_ROUTES, &other,
    )
    if fault == faults.FAULT_AMBIGUOUS_PATH:
        return other != chosen
    return fault in (
        <int>faults.FAULT_NONE, <int>faults.FAULT_BAD_TARGET,
        <int>faults.FAULT_TARGET_TOO_LONG,
    )


cdef int judge_head(const Script *s, const char *buf, size_t size) noexcept nogil:
    """The properties that any complete Head has."""
    cdef Head *h = head
    cdef canonical.TargetForm target
    cdef canonical.HostForm host
    cdef char out[canonical.HOST_ROOM]
    cdef char room[8192]
    cdef int i
    cdef int first[<int>H_COUNT]
    if not (
        is_within(h.line, h.line_len, buf, size)
        and is_within(h.target, h.target_len, buf, size)
        and is_within(h.host, h.host_len, buf, size)
        and is_within(h.authority, h.authority_len, buf, size)
        and (h.path_len == 1 or is_within(h.path, h.path_len, buf, size))
        and (h.raw_path_len == 1 or is_within(h.raw_path, h.raw_path_len, buf, size))
        and is_within(h.query, h.query_len, buf, size)
        and is_within(h.reason, h.reason_len, buf, size)
        and is_within(h.upgrade_value, h.upgrade_len, buf, size)
    ):
        return 5
    memset(first, 0xFF, sizeof(first))
    for i in range(h.n_fields):
        if not (
            is_within(h.fields[i].name, h.fields[i].name_len, buf, size)
            and is_within(h.fields[i].value, h.fields[i].value_len, buf, size)
        ):
            return 5
        if h.fields[i].name_len == 0 or not (
            is_clean(h.fields[i].name, h.fields[i].name_len)
            and is_clean(h.fields[i].value, h.fields[i].value_len)
        ):
            return 6
        if h.fields[i].id != 0 and first[h.fields[i].id] < 0:
            first[h.fields[i].id] = i
    for i in range(H_COUNT):
        if first[i] != h.field_of[i]:
            return 10
    if h.chunked and h.content_length >= 0:
        return 7
    if s.response:
        return 0
    if h.path[0] == c"/" and h.path_len < 2000:
        i = canonical.canonical_target(h.path, h.path_len, room, 8192, &target)
        if (
            i != 0
            or target.path_len != h.path_len
            or memcmp(target.path, h.path, h.path_len) != 0
        ):
            return 8
    elif h.path[0] != c"/" and (h.path_len != 1 or h.path[0] != c"*"):
        return 8
    if h.odd != 0 and not is_judged(h):
        return 16
    if h.host_len > 0:
        i = canonical.canonical_host(h.authority, h.authority_len, out, &host)
        if (
            i != 0
            or host.host_len != h.host_len
            or memcmp(host.host, h.host, h.host_len) != 0
        ):
            return 9
    return 0


cdef int run(
    const Script *s, bint cut, uint8_t *body, Outcome *o
) noexcept nogil:
    """Read the stream once, whole or cut; the number of a broken property, or 0."""
    cdef size_t already = 0
    cdef size_t n = 0
    cdef size_t at
    cdef size_t eaten = 0
    cdef size_t body_at = 0
    cdef size_t body_len = 0
    cdef bint done = False
    cdef char *buf = NULL
    cdef int i = 0 if cut else s.n_cuts
    cdef int broken
    memset(o, 0, sizeof(Outcome))
    parser_init(parser, s.response, s.lenient)
    o.fault = faults.FAULT_PARTIAL
    memcpy(stream, s.message, s.size)
    while i <= s.n_cuts:
        n = s.cuts[i]
        i += 1
        buf = place(stream, n)
        memset(head, 0xAA, 512)
        o.fault = parse_head(
            parser, head, &s.limits, buf, n, already, &o.consumed
        )
        memcpy(stream, buf, n)
        if o.consumed > n or (o.fault != 0 and o.consumed != 0):
            return 1
        if o.fault != faults.FAULT_PARTIAL:
            break
        already = n
    if o.fault < 0 or o.fault >= faults.FAULT_COUNT:
        return 15
    if o.fault != faults.FAULT_NONE:
        if s.response and o.fault not in (
            <int>faults.FAULT_PARTIAL, <int>faults.FAULT_UPSTREAM_BAD,
            <int>faults.FAULT_UPSTREAM_HEAD,
        ):
            return 14
        return 0
    broken = judge_head(s, buf, n)
    if broken != 0:
        return broken
    o.sum = sum_head()
    if not head.chunked:
        return 0
    at = o.consumed
    while True:
        buf = place(s.message + at, n - at)
        o.body_fault = read_chunked(
            parser, buf, n - at, &eaten, &body_at, &body_len, &done
        )
        if o.body_fault != 0:
            o.body_len = 0
            return 0
        if eaten > n - at or body_at + body_len > eaten:
            return 11
        memcpy(body + o.body_len, buf + body_at, body_len)
        o.body_len += body_len
        at += eaten
        if done or i > s.n_cuts:
            break
        n = s.cuts[i]
        i += 1
    o.body_end = at
    o.done = done
    return 0


cdef int feed(const uint8_t *data, size_t size, bint response) noexcept nogil:
    cdef Script s
    cdef Outcome whole
    cdef Outcome cut
    cdef size_t at = 1
    cdef size_t point
    cdef int i
    cdef int j
    cdef int broken
    if size < 2 or size > MAX_INPUT:
        return 0
    s.n_cuts = data[0] & 7
    if size < 2 + 2 * <size_t>s.n_cuts:
        return 0
    at += 2 * s.n_cuts
    s.response = response
    s.limits.underscores = data[at] >> 3 & 1
    s.lenient = response and data[at] & 4
    s.limits.max_head_bytes = 200 if data[at] & 2 else 32768
    s.limits.max_fields = 4 if data[at] & 2 else 128
    s.limits.max_target_bytes = 40 if data[at] & 2 else 16384
    if data[at] & 0x20:
        s.limits.max_head_bytes = s.limits.max_target_bytes = MAX_HEAD_BYTES
        s.limits.max_fields = MAX_FIELDS - 1
    at += 1
    s.message = data + at
    s.size = size - at
    for i in range(s.n_cuts):       # an insertion sort: cuts go up
        point = (data[1 + 2 * i] | <size_t>data[2 + 2 * i] << 8) % (s.size + 1)
        j = i
        while j > 0 and s.cuts[j - 1] > point:
            s.cuts[j] = s.cuts[j - 1]
            j -= 1
        s.cuts[j] = point
    s.cuts[s.n_cuts] = s.size
    broken = run(&s, False, bodies[0], &whole)
    if broken != 0:
        return broken
    broken = run(&s, True, bodies[1], &cut)
    if broken != 0:
        return broken
    if cut.fault != whole.fault:
        return 2
    if cut.consumed != whole.consumed:
        return 3
    if cut.sum != whole.sum:
        return 4
    if cut.body_fault != whole.body_fault:
        return 12
    if whole.body_fault == 0 and (
        cut.body_len != whole.body_len
        or cut.body_end != whole.body_end
        or cut.done != whole.done
        or memcmp(bodies[0], bodies[1], whole.body_len) != 0
    ):
        return 13
    return 0


cdef int feed_request(const uint8_t *data, size_t size) noexcept nogil:
    """One input as a client's stream."""
    return feed(data, size, False)


cdef int feed_response(const uint8_t *data, size_t size) noexcept nogil:
    """One input as an upstream's stream."""
    return feed(data, size, True)


def feed_one(bytes data, bint response):
    """The number of the property that `data` breaks, or 0."""
    return feed(<const uint8_t *><const char *>data, len(data), response)


# --- the mutator ---------------------------------------------------------------

cdef struct Piece:
    const uint8_t *at
    size_t size

cdef enum:
    MAX_PIECES = 4096


cdef inline uint64_t draw(uint64_t *state) noexcept nogil:
    """xorshift64*."""
    state[0] ^= state[0] >> 12
    state[0] ^= state[0] << 25
    state[0] ^= state[0] >> 27
    return (state[0] * <uint64_t>2685821657736338717U) >> 16


cdef size_t mutate(
    uint8_t *data, size_t n, size_t room,
    const Piece *corpus, int n_corpus, const Piece *words, int n_words,
    uint64_t *state
) noexcept nogil:
    """Change `data` in one to eight places; its new size."""
    cdef uint64_t turns = 1 + draw(state) % 8
    cdef uint64_t _i
    cdef uint64_t kind
    cdef size_t at
    cdef size_t count
    cdef const Piece *piece
    for _i in range(turns):
        kind = draw(state) % 8
        at = draw(state) % (n + 1)
        count = 1 + draw(state) % 16
        if kind <= 2 and n_words > 0:           # a word of the protocol
            piece = &words[draw(state) % <uint64_t>n_words]
            if n + piece.size <= room:
                memmove(data + at + piece.size, data + at, n - at)
                memcpy(data + at, piece.at, piece.size)
                n += piece.size
        elif kind == 3 and at < n:              # another byte
            data[at] = <uint8_t>draw(state)
        elif kind == 4 and at < n:              # fewer bytes
            count = min(count, n - at)
            memmove(data + at, data + at + count, n - at - count)
            n -= count
        elif kind == 5 and at < n:              # some bytes twice
            count = min(count * count, n - at)
            if n + count <= room:
                memmove(data + at + count, data + at, n - at)
                n += count
        elif kind == 6 and at < n:              # one bit
            data[at] ^= <uint8_t>(1 << (draw(state) % 8))
        elif kind == 7:                         # the end of another input
            piece = &corpus[draw(state) % <uint64_t>n_corpus]
            count = draw(state) % (piece.size + 1)
            if at + piece.size - count <= room:
                memcpy(data + at, piece.at + count, piece.size - count)
                n = at + piece.size - count
    return n


cdef int point_at(list texts, Piece *pieces) except -1:
    cdef int i
    cdef bytes text
    for i, text in enumerate(texts):
        if i == MAX_PIECES:
            break
        pieces[i].at = <const uint8_t *><const char *>text
        pieces[i].size = len(text)
    return <int>min(len(texts), MAX_PIECES)


def fuzz(
    list corpus, list words, uint8_t[::1] shared, bint response, double seconds,
    uint64_t seed,
):
    """Mutate and feed for some seconds: (inputs fed, broken property or 0).

    shared  at least 8 + 65536 bytes: the size and the bytes of the current input, for
            whoever survives a crash of this process
    """
    cdef Piece inputs[MAX_PIECES]
    cdef Piece dictionary[MAX_PIECES]
    cdef int n_inputs = point_at(corpus, inputs)
    cdef int n_words = point_at(words, dictionary)
    cdef uint64_t state = seed | 1
    cdef timespec now
    cdef double stop
    cdef int64_t fed = 0
    cdef int broken = 0
    cdef uint8_t *data = &shared[8]
    cdef size_t n
    cdef const Piece *piece
    if n_inputs == 0 or shared.shape[0] < 65544:
        raise ValueError("fuzz needs a corpus and 65544 bytes")
    with nogil:
        clock_gettime(CLOCK_MONOTONIC, &now)
        stop = now.tv_sec + now.tv_nsec * 1e-9 + seconds
        while broken == 0:
            if fed % 1024 == 0:
                clock_gettime(CLOCK_MONOTONIC, &now)
                if now.tv_sec + now.tv_nsec * 1e-9 >= stop:
                    break
            piece = &inputs[draw(&state) % <uint64_t>n_inputs]
            n = min(piece.size, <size_t>60000)
            memcpy(data, piece.at, n)
            n = mutate(
                data, n, 65536, inputs, n_inputs, dictionary, n_words, &state
            )
            memcpy(&shared[0], &n, 8)
            broken = feed(data, n, response)
            fed += 1
    return fed, broken
