"""Where `hash` and `ip-hash` place a request. Runs in: worker.

Both balancers send equal keys to the same endpoint; this room makes the key: the
hash of the path, of a header, of a cookie, of a parameter of the query or of the
client's address, as the upstream says. What the key is then compared with stands in
policies.pyx.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp

from fastgate.dataplane.base.address cimport parse_address
from fastgate.dataplane.base.hashing cimport hash_bytes
from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.http.client cimport client_address
from fastgate.dataplane.http.fields cimport same_name
from fastgate.dataplane.http.message cimport H_COOKIE, Field, Head
from fastgate.dataplane.plan.upstream cimport (
    KEY_COOKIE, KEY_HEADER, KEY_PATH, KEY_QUERY, UpstreamPlan,
)

cdef enum:
    KEY_SEED = 0x6B6579         # "key": apart from the hashes of endpoints' addresses


cdef uint64_t balancing_key(
    Worker *w, int upstream, const char *peer, size_t peer_len, bint trusted,
    const Head *h,
) noexcept nogil:
    """The hash that `hash` and `ip-hash` place a request by; 0 under other policies.

    upstream  index into the plan
    peer      the address, as text, of who sent it
    trusted   that is a proxy which says truly whose request it is

    A request without the header, cookie or parameter is placed by its client's
    address.
    """
    cdef const UpstreamPlan *plan = &w.upstream_plans[upstream]
    cdef const Field *f
    cdef const char *value
    cdef size_t n
    cdef int i
    if not plan.policy.needs_key:
        return 0
    if plan.hash_key_kind == KEY_PATH:
        return hash_bytes(h.path, h.path_len, KEY_SEED)
    if plan.hash_key_kind == KEY_HEADER:
        for i in range(h.n_fields):
            f = &h.fields[i]
            if f.name_len == plan.hash_key_name.len and same_name(
                f.name, plan.hash_key_name.at, f.name_len
            ):
                return hash_bytes(f.value, f.value_len, KEY_SEED)
    elif plan.hash_key_kind == KEY_COOKIE and h.field_of[<int>H_COOKIE] >= 0:
        f = &h.fields[h.field_of[<int>H_COOKIE]]
        value = cookie_value(
            f.value, f.value_len, plan.hash_key_name.at, plan.hash_key_name.len, &n
        )
        if value is not NULL:
            return hash_bytes(value, n, KEY_SEED)
    elif plan.hash_key_kind == KEY_QUERY:
        value = parameter_value(
            h.query, h.query_len, plan.hash_key_name.at, plan.hash_key_name.len, &n
        )
        if value is not NULL:
            return hash_bytes(value, n, KEY_SEED)
    return client_key(w, peer, peer_len, trusted, h)


cdef uint64_t client_key(
    Worker *w, const char *peer, size_t peer_len, bint trusted, const Head *h
) noexcept nogil:
    """Of an IPv6 client only the /64 counts: that is what one user has."""
    cdef char text[64]
    cdef uint8_t address[16]
    cdef const char *at = peer
    cdef size_t n = peer_len
    if trusted:
        n = client_address(
            h, w.gateway.trusted_proxies, w.gateway.n_trusted_proxies,
            peer, peer_len, text, sizeof(text),
        )
        at = text
    if not parse_address(at, n, address):
        return hash_bytes(peer, peer_len, KEY_SEED)
    if (<uint64_t *>address)[0] == 0:
        return hash_bytes(<char *>address, 16, KEY_SEED)
    return hash_bytes(<char *>address, 8, KEY_SEED)


cdef const char *cookie_value(
    const char *at, size_t n, const char *name, size_t name_len, size_t *value_len
) noexcept nogil:
    """The value of one cookie in a Cookie field (RFC 6265 section 4.2), or NULL."""
    cdef size_t i = 0
    cdef size_t begin, k
    while i < n:
        while i < n and (at[i] == b" " or at[i] == b";"):
            i += 1
        begin = i
        while i < n and at[i] != b";":
            i += 1
        if i - begin > name_len and at[begin + name_len] == b"=":
            k = 0
            while k < name_len and at[begin + k] == name[k]:
                k += 1
            if k == name_len:
                value_len[0] = i - begin - name_len - 1
                return at + begin + name_len + 1
    return NULL


cdef const char *parameter_value(
    const char *at, size_t n, const char *name, size_t name_len, size_t *value_len
) noexcept nogil:
    """The value of the first parameter of that name in `?a=b&c=d`, or NULL.

    Name and value are what was sent, not decoded: equal bytes are an equal key.
    """
    cdef size_t i = 1
    cdef size_t begin
    while i < n:
        begin = i
        while i < n and at[i] != b"&":
            i += 1
        if (
            i - begin > name_len and at[begin + name_len] == b"="
            and memcmp(at + begin, name, name_len) == 0
        ):
            value_len[0] = i - begin - name_len - 1
            return at + begin + name_len + 1
        i += 1
    return NULL
