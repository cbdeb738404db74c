"""Header fields: which names have a rule, and which fields are not passed on.

Runs in: worker. A name with a rule has a number (HeaderId), found by a perfect hash
of four of its bytes; the table is filled, and proved free of collisions, at import.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from fastgate.dataplane.base.words cimport load8
from fastgate.dataplane.http.message cimport (
    Field, Head, HeaderId,
    H_OTHER, H_HOST, H_CONTENT_LENGTH, H_TRANSFER_ENCODING, H_CONNECTION, H_KEEP_ALIVE,
    H_PROXY_CONNECTION, H_PROXY_AUTHENTICATE, H_PROXY_AUTHORIZATION, H_TE, H_TRAILER,
    H_UPGRADE, H_HTTP2_SETTINGS, H_EXPECT, H_X_FORWARDED_FOR, H_X_FORWARDED_PROTO,
    H_X_FORWARDED_HOST, H_X_FORWARDED_PORT, H_X_FORWARDED_PREFIX, H_X_FORWARDED_OTHER,
    H_X_REAL_IP, H_FORWARDED, H_X_REQUEST_ID, H_VIA, H_SERVER, H_DATE, H_USER_AGENT,
    H_REFERER, H_AUTHORIZATION, H_COOKIE, H_COUNT, MAX_HEADER_IDS,
    UNDERSCORES_DROP, UNDERSCORES_SAFE, id_bit,
)

assert H_COUNT <= MAX_HEADER_IDS, "more ids than a set of them has bits"

cdef enum:
    MAX_RULED = 64              # longer than every name with a rule

cdef struct Name:               # a slot of the perfect hash below
    char text[28]
    uint8_t len                 # 0: empty slot
    uint8_t id

cdef Name NAMES[64]
cdef Name ALIASES[64]
cdef uint8_t DROPPED[H_COUNT]               # hop-by-hop, whoever lists it
cdef uint8_t NOT_LISTABLE[H_COUNT]          # stays although Connection names it
cdef uint8_t TOKEN[256]


cdef inline uint32_t load4(const char *at) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, at, 4)
    return word


cdef inline bint folds_to(
    const char *token, const char *lower, size_t n
) noexcept nogil:
    """Whether n bytes of a token are `lower`, which is letters, digits and "-".

    Setting bit 5 folds case, and takes no other token character to one of those.
    """
    cdef uint64_t fold = <uint64_t>0x2020202020202020ULL
    cdef size_t i = 0
    if n >= 8:
        while i + 8 <= n:
            if load8(token + i) | fold != load8(lower + i):
                return False
            i += 8
        return load8(token + n - 8) | fold == load8(lower + n - 8)
    if n >= 4:
        return (
            load4(token) | <uint32_t>fold == load4(lower)
            and load4(token + n - 4) | <uint32_t>fold == load4(lower + n - 4)
        )
    while i < n:
        if token[i] | 0x20 != lower[i]:
            return False
        i += 1
    return True


cdef inline uint8_t slot_of(const char *name, size_t n) noexcept nogil:
    """A perfect hash of the known names (checked at import), n >= 2."""
    return (
        n * 5
        + <uint8_t>(name[0] | 0x20) * 2
        + <uint8_t>(name[n - 1] | 0x20) * 24
        + <uint8_t>(name[n - 2] | 0x20) * 5
    ) & 63


cdef inline uint8_t alias_slot(const char *name, size_t n) noexcept nogil:
    """Likewise of the aliases."""
    return (
        n * 43
        + <uint8_t>(name[0] | 0x20) * 44
        + <uint8_t>(name[n - 1] | 0x20) * 21
        + <uint8_t>(name[n // 2] | 0x20) * 54
    ) & 63


cdef HeaderId header_id(const char *name, size_t n) noexcept nogil:
    """Which name with a rule this is, in any case; `name` must be a token."""
    cdef Name *known
    if 2 <= n < sizeof(NAMES[0].text):
        known = &NAMES[slot_of(name, n)]
        if known.len == n and folds_to(name, known.text, n):
            return <HeaderId>known.id
        known = &ALIASES[alias_slot(name, n)]
        if known.len == n and folds_to(name, known.text, n):
            return H_X_FORWARDED_OTHER
    if n >= 12 and name[0] | 0x20 == c"x" and folds_to(name, "x-forwarded-", 12):
        return H_X_FORWARDED_OTHER
    return H_OTHER


cdef inline uint8_t lower(char c) noexcept nogil:
    return c | 0x20 if c"A" <= c <= c"Z" else c


cdef bint same_name(const char *a, const char *b, size_t n) noexcept nogil:
    """Whether two names of n bytes are the same but for the case of letters."""
    cdef size_t i
    for i in range(n):
        if a[i] != b[i] and lower(a[i]) != lower(b[i]):
            return False
    return True


cdef bint value_is(const Field *f, const char *lower, size_t n) noexcept nogil:
    """Whether a value is `lower` in any case; `lower` as for folds_to.

    Exact for a value whose bytes are all of a token, otherwise a control character
    may pass for another byte: llhttp lets none of those through.
    """
    return f.value_len == n and folds_to(f.value, lower, n)


cdef const char *token_end(const char *at, const char *end) noexcept nogil:
    """Where the token at `at` ends (RFC 9110 section 5.6.2)."""
    while at < end and TOKEN[<uint8_t>at[0]]:
        at += 1
    return at


cdef bint has_underscore(const char *name, size_t n) noexcept nogil:
    """Whether a name has a `_`, which CGI-like origins read as "-"."""
    cdef uint64_t ones = <uint64_t>0x0101010101010101ULL
    cdef uint64_t word
    cdef uint64_t hit = 0
    cdef size_t i = 0
    if n < 8:
        while i < n:
            hit |= name[i] == c"_"
            i += 1
        return hit != 0
    while True:
        word = load8(name + i) ^ (ones * c"_")
        hit |= (word - ones) & ~word & (ones << 7)
        if i + 8 >= n:
            return hit != 0
        i = i + 8 if i + 16 <= n else n - 8


cdef inline bint is_blank(char c) noexcept nogil:
    return c == c" " or c == c"\t"


cdef bint reads_as_ruled(const char *name, size_t n) noexcept nogil:
    """Whether a name is one with a rule for an origin that reads "_" as "-"."""
    cdef char dashed[MAX_RULED]
    cdef size_t i
    # Longer names have a rule only by how they begin.
    n = min(n, <size_t>MAX_RULED)
    for i in range(n):
        dashed[i] = c"-" if name[i] == c"_" else name[i]
    return header_id(dashed, n) != H_OTHER


cdef uint64_t sort_fields(Head *h, bint response, int underscores) noexcept nogil:
    """Trim values, give ids, fill field_of; returns the ids seen twice.

    underscores  an Underscores. Responses keep such names: no origin reads them
    """
    cdef uint64_t doubled = 0
    cdef int i
    cdef int id
    cdef Field *f
    memset(h.field_of, 0xFF, sizeof(h.field_of))
    for i in range(h.n_fields):
        f = &h.fields[i]
        while f.value_len > 0 and is_blank(f.value[f.value_len - 1]):
            f.value_len -= 1
        id = header_id(f.name, f.name_len)
        f.id = <uint8_t>id
        if id == H_OTHER:
            f.dropped = not response and has_underscore(f.name, f.name_len) and (
                underscores == UNDERSCORES_DROP
                or (
                    underscores == UNDERSCORES_SAFE
                    and reads_as_ruled(f.name, f.name_len)
                )
            )
            continue
        f.dropped = DROPPED[id]
        if h.field_of[id] < 0:
            h.field_of[id] = i
        else:
            doubled |= id_bit(id)
    return doubled


cdef void drop_listed(Head *h, const char *token, size_t n) noexcept nogil:
    """Mark the fields of a name that Connection lists, unless it may not list that.

    Were Host, framing, credentials or what proxies say of the client dropped at a
    client's word, the origin would take the request for another's.
    """
    cdef int id = header_id(token, n)
    cdef int i
    cdef Field *f
    if NOT_LISTABLE[id]:
        return
    for i in range(h.n_fields):
        f = &h.fields[i]
        if f.id == id and f.name_len == n and same_name(f.name, token, n):
            f.dropped = True


cdef enum:                      # what is so of a name with a rule
    HOP_BY_HOP = 1              # not passed on, whoever lists it
    STAYS = 2                   # although Connection lists it: see drop_listed

KNOWN_NAMES = (
    (b"host", H_HOST, STAYS),
    (b"content-length", H_CONTENT_LENGTH, STAYS),
    (b"transfer-encoding", H_TRANSFER_ENCODING, HOP_BY_HOP | STAYS),
    (b"connection", H_CONNECTION, HOP_BY_HOP),
    (b"keep-alive", H_KEEP_ALIVE, HOP_BY_HOP),
    (b"proxy-connection", H_PROXY_CONNECTION, HOP_BY_HOP),
    (b"proxy-authenticate", H_PROXY_AUTHENTICATE, HOP_BY_HOP),
    (b"proxy-authorization", H_PROXY_AUTHORIZATION, HOP_BY_HOP),
    (b"te", H_TE, HOP_BY_HOP),
    (b"trailer", H_TRAILER, HOP_BY_HOP),
    (b"upgrade", H_UPGRADE, HOP_BY_HOP),
    (b"http2-settings", H_HTTP2_SETTINGS, HOP_BY_HOP),
    (b"expect", H_EXPECT, 0),
    (b"x-forwarded-for", H_X_FORWARDED_FOR, STAYS),
    (b"x-forwarded-proto", H_X_FORWARDED_PROTO, STAYS),
    (b"x-forwarded-host", H_X_FORWARDED_HOST, STAYS),
    (b"x-forwarded-port", H_X_FORWARDED_PORT, STAYS),
    (b"x-forwarded-prefix", H_X_FORWARDED_PREFIX, STAYS),
    (b"x-real-ip", H_X_REAL_IP, STAYS),
    (b"forwarded", H_FORWARDED, STAYS),
    (b"x-request-id", H_X_REQUEST_ID, STAYS),
    (b"via", H_VIA, STAYS),
    (b"server", H_SERVER, 0),
    (b"date", H_DATE, 0),
    (b"user-agent", H_USER_AGENT, 0),
    (b"referer", H_REFERER, 0),
    (b"authorization", H_AUTHORIZATION, STAYS),
    (b"cookie", H_COOKIE, STAYS),
)

# Names by which one proxy or another tells where a request came from, or what it
# asked for at first. Origins believe them, so only a trusted peer may send them.
CLIENT_ALIASES = (
    b"x-forwarded forwarded-for x-client-ip client-ip true-client-ip"
    b" x-true-client-ip x-cluster-client-ip x-originating-ip x-remote-ip"
    b" x-remote-addr x-original-forwarded-for x-proxyuser-ip cf-connecting-ip"
    b" fastly-client-ip x-envoy-external-address wl-proxy-client-ip proxy-client-ip"
    b" x-azure-clientip x-original-host x-host x-original-url x-rewrite-url"
).split()


cdef void add_name(Name *slot, bytes name, int id) except *:
    assert slot.len == 0, f"{name!r} collides with another name: choose a new hash"
    assert len(name) < <Py_ssize_t>sizeof(slot.text)
    memcpy(slot.text, <const char *>name, len(name))
    slot.len = <uint8_t>len(name)
    slot.id = <uint8_t>id


def fill_tables() -> None:
    cdef int id, rules
    memset(NAMES, 0, sizeof(NAMES))
    memset(ALIASES, 0, sizeof(ALIASES))
    for name, id, rules in KNOWN_NAMES:
        add_name(&NAMES[slot_of(name, len(name))], name, id)
        DROPPED[id] = rules & HOP_BY_HOP != 0
        NOT_LISTABLE[id] = rules & STAYS != 0
    for name in CLIENT_ALIASES:
        add_name(&ALIASES[alias_slot(name, len(name))], name, H_X_FORWARDED_OTHER)
    NOT_LISTABLE[<int>H_X_FORWARDED_OTHER] = True
    for byte in range(256):
        TOKEN[byte] = chr(byte).isalnum() and byte < 0x80
        TOKEN[byte] |= byte in b"!#$%&'*+-.^_`|~"


fill_tables()
