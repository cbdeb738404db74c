"""Whose request it is: the client behind proxies that are trusted. Runs in: worker."""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from fastgate.dataplane.base.address cimport ADDRESS_TEXT, is_trusted, parse_address
from fastgate.dataplane.http.message cimport H_X_FORWARDED_FOR, Field


cdef bint read_element(
    const char **at, size_t *n, uint8_t *address
) noexcept nogil:
    """Read one element of X-Forwarded-For: narrow [at, at + n) to its address.

    `192.0.2.1`, `192.0.2.1:8080`, `2001:db8::1`, `[2001:db8::1]` and
    `[2001:db8::1]:8080` are understood; anything else returns False.
    """
    cdef const char *p = at[0]
    cdef size_t end = n[0]
    cdef size_t colon = 0
    cdef size_t i
    cdef int colons = 0
    if end and p[0] == c'[':
        p += 1
        end -= 1
        i = 0
        while i < end and p[i] != c']':
            colons += p[i] == c':'
            i += 1
        # Only IPv6 stands in brackets, and only a port may follow them.
        if colons == 0 or i == end or (i + 1 < end and p[i + 1] != c':'):
            return False
        end = i
    else:
        for i in range(end):
            if p[i] == c':':
                colons += 1
                colon = i
        if colons == 1:
            end = colon
    if end >= ADDRESS_TEXT or not parse_address(p, end, address):
        return False
    at[0] = p
    n[0] = end
    return True


cdef size_t client_address(
    const Head *h, const Cidr *trusted, int n_trusted,
    const char *peer, size_t peer_len, char *out, size_t room
) noexcept nogil:
    """Write the client's address as text: what balancing, limits and logs use.

    The rightmost address of X-Forwarded-For that is not trusted, for everything
    left of it is hearsay. An element that is no address ends the walk at the last
    one believed, and the peer's own is what there is where nothing was told.

    peer    of a trusted proxy: any other is the client itself, whatever it says
    room    at least 46 (INET6_ADDRSTRLEN); a longer peer is cut
    returns the bytes written, without a NUL
    """
    cdef uint8_t address[16]
    cdef const char *best = peer
    cdef size_t best_len = peer_len
    cdef const Field *f
    cdef const char *at
    cdef size_t n, start, end
    cdef int i = h.n_fields - 1
    cdef int first = h.field_of[<int>H_X_FORWARDED_FOR]
    cdef bint walking = first >= 0
    while walking and i >= first:
        f = &h.fields[i]
        i -= 1
        if f.id != H_X_FORWARDED_FOR or f.dropped:
            continue
        end = f.value_len
        while walking and end > 0:
            start = end
            while start > 0 and f.value[start - 1] != c',':
                start -= 1
            at = f.value + start
            n = end - start
            end = start - 1 if start else 0
            while n and (at[0] == c' ' or at[0] == c'\t'):
                at += 1
                n -= 1
            while n and (at[n - 1] == c' ' or at[n - 1] == c'\t'):
                n -= 1
            if n == 0:
                continue
            walking = read_element(&at, &n, address)
            if walking:
                best = at
                best_len = n
                walking = is_trusted(trusted, n_trusted, address)
    if best_len > room:
        best_len = room
    memcpy(out, best, best_len)
    return best_len
