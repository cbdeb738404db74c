"""What HTTP/1.1 has in a worker, made and freed. Runs in: worker."""

from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastgate.dataplane.base.memory cimport slab_free, slab_init
from fastgate.dataplane.conn.conn cimport KIND_CLIENT, KIND_ORIGIN


cdef int h1_make(Worker *w) except -1:
    """Tables without a connection in them. Raises MemoryError: h1_free() them."""
    cdef H1 *h = <H1 *>calloc(1, sizeof(H1))
    if h is NULL:
        raise MemoryError("worker")
    w.h1 = h
    slab_init(&h.clients, sizeof(H1Client))
    slab_init(&h.origins, sizeof(H1Origin))
    w.sockets[<int>KIND_CLIENT] = &h.clients
    w.sockets[<int>KIND_ORIGIN] = &h.origins
    h.pools = <Pool *>calloc(w.n_endpoints + 1, sizeof(Pool))
    if h.pools is NULL:
        raise MemoryError("worker")
    memset(h.request.field_of, 0xFF, sizeof(h.request.field_of))
    memset(h.response.field_of, 0xFF, sizeof(h.response.field_of))
    return 0


cdef void h1_free(Worker *w) noexcept:
    """Give it all back; what is open must be closed before."""
    cdef H1 *h = h1(w)
    if h is NULL:
        return
    slab_free(&h.clients)
    slab_free(&h.origins)
    free(h.pools)
    free(h)
    w.h1 = NULL
