"""Connections of clients, and the HTTP/1.1 requests that come over them.

Runs in: worker. An exchange knows one as a Client, the loop as a Conn with an Owner.
"""

from fastgate.dataplane.base.system cimport sockaddr_storage
from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.h1.connections cimport H1Client

cdef H1Client *client_open(
    Worker *w, int fd, int listener, const sockaddr_storage *peer
) noexcept nogil
cdef bint client_retire(Worker *w) noexcept nogil
