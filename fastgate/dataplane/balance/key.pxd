"""Where `hash` and `ip-hash` place a request. Runs in: worker."""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.http.message cimport Head

cdef uint64_t balancing_key(
    Worker *w, int upstream, const char *peer, size_t peer_len, bint trusted,
    const Head *h,
) noexcept nogil
