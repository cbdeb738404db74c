"""Host and path to route. Runs in: worker.

One open-addressing table holds every text that can be looked up: hosts, wildcard
suffixes, exact paths and prefixes, each under a scope (what kind it is, and for a
path which host's). A request costs one probe for its host, one for its exact
path, and one for each distinct prefix length of that host at which the path has
a segment boundary; the number of routes does not enter.

The precedence and its reasons: docs/decisions/0004-routing-precedence.md.
"""

import secrets

cimport cython

from libc.stdint cimport int32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from fastgate.dataplane.base.words cimport load8, load_short

cdef enum Kind:             # the low two bits of a scope
    KIND_HOST = 0
    KIND_SUFFIX             # of a wildcard host, without its "*."
    KIND_EXACT
    KIND_PREFIX

cdef enum:
    MAX_TEXT_BYTES = 1 << 20    # of one host or path; offsets stay below 32 bits

cdef struct Entry:
    uint64_t hash
    uint32_t text_at        # into Table.texts
    uint32_t text_len
    uint32_t scope          # group << 2 | Kind; group 0 for hosts and suffixes
    int32_t value           # a group (hosts, suffixes) or a route index; -1: free

cdef struct Group:          # the paths of one host
    uint32_t lengths_at     # into Table.lengths
    uint32_t n_lengths
    uint32_t n_exact

cdef struct Table:
    uint64_t seed
    uint64_t mask           # entries - 1
    Entry *entries
    char *texts
    Group *groups
    uint32_t *lengths       # of prefixes; descending within a group
    uint32_t n_suffixes
    int32_t any_group       # of routes without a host, or -1


cdef inline uint64_t hash_text(
    uint64_t seed, uint32_t scope, const char *p, size_t n
) noexcept nogil:
    """A keyed hash, eight bytes a multiplication.

    Collisions cost one comparison and never decide; the key is there so that no
    one outside can choose hosts that all probe the same stretch of the table.
    The odd multiplier is that of MurmurHash3's finalizer (Appleby, public domain).
    """
    cdef uint64_t h = seed ^ (<uint64_t>n << 32 | scope)
    while n >= 8:
        h = (h ^ load8(p)) * 0xff51afd7ed558ccdU
        h ^= h >> 32
        p += 8
        n -= 8
    h = (h ^ load_short(p, n)) * 0xff51afd7ed558ccdU
    h ^= h >> 33
    h *= 0xc4ceb9fe1a85ec53U
    return h ^ h >> 33


cdef inline int32_t lookup(
    const Table *t, uint32_t scope, const char *p, size_t n
) noexcept nogil:
    """The value kept under exactly this text in this scope, or -1."""
    cdef uint64_t h = hash_text(t.seed, scope, p, n)
    cdef uint64_t i = h & t.mask
    cdef const Entry *e = &t.entries[i]
    while e.value >= 0:
        if (
            e.hash == h and e.scope == scope and e.text_len == n
            and memcmp(t.texts + e.text_at, p, n) == 0
        ):
            return e.value
        i = (i + 1) & t.mask
        e = &t.entries[i]
    return -1


cdef int32_t route_in_group(
    const Table *t, int32_t group, const char *path, uint32_t n
) noexcept nogil:
    """Exact path, then the longest prefix that ends at a segment boundary."""
    cdef const Group *g = &t.groups[group]
    cdef const uint32_t *lengths = t.lengths + g.lengths_at
    cdef uint32_t scope = <uint32_t>group << 2
    cdef uint32_t i, length
    cdef int32_t found = NO_ROUTE
    if g.n_exact:
        found = lookup(t, scope | KIND_EXACT, path, n)
        if found >= 0:
            return found
    if n == 1 and path[0] == c'*':
        path = "/"          # OPTIONS * asks the server as a whole
    for i in range(g.n_lengths):
        length = lengths[i]
        if length > n or not (
            length == n or path[length] == c'/' or path[length - 1] == c'/'
        ):
            continue
        found = lookup(t, scope | KIND_PREFIX, path, length)
        if found >= 0:
            return found
    return NO_ROUTE


cdef int route(const Table *t, const RouteQuery *q) noexcept nogil:
    """The route of a request, or NO_ROUTE.

    Host groups are asked from the most specific to the least; one whose paths do
    not match passes the question on.
    """
    cdef const char *host = q.host
    cdef uint32_t n = q.host_len
    cdef uint32_t dot
    cdef int32_t group = lookup(t, KIND_HOST, host, n)
    cdef int32_t found
    if group >= 0:
        found = route_in_group(t, group, q.path, q.path_len)
        if found >= 0:
            return found
    if t.n_suffixes:
        # Cutting labels from the left meets the longest suffix first; at least
        # one label has gone before the first look, so "*.a" never matches "a".
        dot = 0
        while dot < n:
            if host[dot] != c'.':
                dot += 1
                continue
            dot += 1
            group = lookup(t, KIND_SUFFIX, host + dot, n - dot)
            if group >= 0:
                found = route_in_group(t, group, q.path, q.path_len)
                if found >= 0:
                    return found
    if t.any_group >= 0:
        return route_in_group(t, t.any_group, q.path, q.path_len)
    return NO_ROUTE


cdef void place(
    Table *t, uint32_t scope, uint32_t text_at, uint32_t n, int32_t value
) noexcept:
    cdef uint64_t h = hash_text(t.seed, scope, t.texts + text_at, n)
    cdef uint64_t i = h & t.mask
    while t.entries[i].value >= 0:
        i = (i + 1) & t.mask
    t.entries[i] = Entry(h, text_at, n, scope, value)


cdef void *zeroed(size_t n, size_t size) except NULL:
    cdef void *p = calloc(n + 1, size)
    if p is NULL:
        raise MemoryError(f"routing table: {n} entries of {size} bytes")
    return p


def check_row(host, kind, path, route_index):
    """Raise ValueError if a row is not in the form that requests are matched in."""
    if host is not None:
        name = host[2:] if host.startswith("*.") else host
        if not name or "*" in name or name != name.lower() or name.endswith("."):
            raise ValueError(
                f"route {route_index}: host {host!r} is neither a lower-case name"
                ' without a trailing dot nor "*." and such a name'
            )
        host.encode("ascii")
    if kind not in ("exact", "prefix"):
        raise ValueError(f"route {route_index}: kind {kind!r} is not exact or prefix")
    if not path.startswith("/"):
        raise ValueError(f"route {route_index}: path {path!r} does not start with /")
    if max(len(path), len(host or "")) > MAX_TEXT_BYTES // 4:
        raise ValueError(f"route {route_index}: host or path is too long")
    if not 0 <= route_index < 1 << 31:
        raise ValueError(f"route {route_index}: not a route index")


cdef int fill(
    Table *t, dict groups, dict routes, list lengths_of, list n_exact
) except -1:
    """Allocate what an empty table points to and place every text in it."""
    cdef list texts = [
        b"" if host is None else host.removeprefix("*.").encode()
        for host in groups
    ]
    cdef size_t n_entries = 2
    cdef size_t i
    cdef uint32_t at = 0
    cdef uint32_t group_index
    cdef bytes text
    texts.extend([key[2] for key in routes])
    if sum(map(len, texts)) >= 1 << 32 or len(groups) >= 1 << 29:
        raise ValueError("routing table: more than 4 GiB of hosts and paths")
    # Half full at most: a miss, the usual end of a wildcard walk, stays short.
    while n_entries < 2 * <size_t>len(texts):
        n_entries *= 2
    t.seed = secrets.randbits(64)
    t.mask = n_entries - 1
    t.any_group = groups.get(None, -1)
    t.entries = <Entry *>zeroed(n_entries, sizeof(Entry))
    t.texts = <char *>zeroed(sum(map(len, texts)), 1)
    t.groups = <Group *>zeroed(len(groups), sizeof(Group))
    t.lengths = <uint32_t *>zeroed(sum(map(len, lengths_of)), sizeof(uint32_t))
    for i in range(n_entries):
        t.entries[i].value = -1
    for group_index, lengths in enumerate(lengths_of):
        t.groups[group_index] = Group(at, len(lengths), n_exact[group_index])
        for length in sorted(lengths, reverse=True):
            t.lengths[at] = length
            at += 1
    at = 0
    for host, group in groups.items():
        if host is not None:
            text = host.removeprefix("*.").encode()
            memcpy(t.texts + at, <const char *>text, len(text))
            if host.startswith("*."):
                t.n_suffixes += 1
                place(t, KIND_SUFFIX, at, len(text), group)
            else:
                place(t, KIND_HOST, at, len(text), group)
            at += len(text)
    for (group, kind, text), route_index in routes.items():
        memcpy(t.texts + at, <const char *>text, len(text))
        group_index = group
        place(
            t, group_index << 2 | (KIND_EXACT if kind == "exact" else KIND_PREFIX),
            at, len(text), route_index,
        )
        at += len(text)
    return 0


@cython.final
cdef class Router:
    """Owns the table; built from (host, kind, path, route_index) rows.

    host    canonical (lower case, no port, no trailing dot), "*." and a canonical
            name for any host of one or more labels more, or None for any host
    kind    "exact", or "prefix", which matches whole segments: "/a" takes "/a"
            and "/a/b" but not "/ab"; "/a/" takes "/a/" and "/a/b" but not "/a"
    path    canonical, starts with "/"

    Raises ValueError for a row in another form, or for two rows that match the
    same requests, naming both.
    """

    def __cinit__(self, rows):
        cdef dict groups = {}           # host -> group
        cdef dict routes = {}           # (group, kind, path) -> route index
        cdef list lengths_of = []       # [group] -> its prefix lengths
        cdef list n_exact = []
        for host, kind, path, route_index in rows:
            check_row(host, kind, path, route_index)
            group = groups.setdefault(host, len(groups))
            if group == len(lengths_of):
                lengths_of.append(set())
                n_exact.append(0)
            key = (group, kind, path.encode())
            if key in routes:
                raise ValueError(
                    f"routes {routes[key]} and {route_index} both take host "
                    f"{host or 'any'}, {kind} path {path}"
                )
            routes[key] = route_index
            if kind == "exact":
                n_exact[group] += 1
            else:
                lengths_of[group].add(len(key[2]))
        self.table = <Table *>zeroed(1, sizeof(Table))
        fill(self.table, groups, routes, lengths_of, n_exact)

    def __dealloc__(self):
        if self.table is not NULL:
            free(self.table.entries)
            free(self.table.texts)
            free(self.table.groups)
            free(self.table.lengths)
            free(self.table)

    def find(self, host, path):
        """The route index of a canonical host and path, or None."""
        cdef bytes host_bytes = host.encode()
        cdef bytes path_bytes = path.encode()
        cdef RouteQuery q
        q.host = host_bytes
        q.host_len = len(host_bytes)
        q.path = path_bytes
        q.path_len = len(path_bytes)
        cdef int found = route(self.table, &q)
        return None if found < 0 else found
