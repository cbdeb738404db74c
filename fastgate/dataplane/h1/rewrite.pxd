"""A Head to bytes again: what goes upstream, what goes back, our own replies.

Runs in: worker. Nothing is copied raw: every name and value is checked again by
the writer (RFC 9110 section 5.5), so that no rule and no identifier can split a
message. Writers return the bytes written, or a negative Fault.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from fastgate.dataplane.http.message cimport Head
from fastgate.dataplane.http.rules cimport Rules

cdef struct RequestShape:   # of a route; borrowed from the plan
    const char *host        # what Host becomes; NULL: the client's is kept
    uint32_t host_len
    uint8_t x_forwarded     # X-Forwarded-For, -Proto, -Host, -Port
    uint8_t forwarded       # Forwarded, RFC 7239
    uint8_t request_id      # X-Request-ID
    const char *via         # what Via calls this gateway; NULL: no Via
    uint32_t via_len
    Rules rules

cdef struct RequestFacts:   # of one exchange
    const char *peer        # the peer's address as text ("unix:" for a Unix socket)
    uint32_t peer_len
    uint8_t peer_is_v6
    uint8_t trusted         # the peer is a trusted proxy: its chain is continued
    uint16_t local_port     # of the listener; 0 for a Unix socket
    const char *scheme      # "http"
    uint32_t scheme_len
    const char *request_id  # 32 hex digits to use when the client sent none
    uint8_t tunnel          # pass the Upgrade on

cdef struct ResponseShape:  # of a route
    const char *server      # the Server field; NULL: the upstream's is kept
    uint32_t server_len     # 0 with server set: no Server field at all
    const char *via         # what Via calls this gateway; NULL: no Via
    uint32_t via_len
    Rules rules

cdef struct Framing:        # how the body of a response is sent to the client
    int64_t content_length  # >= 0: counted
    uint8_t chunked
    uint8_t bodiless        # HEAD, 1xx, 204, 304: fields of length are kept as they are
    uint8_t close           # say Connection: close
    uint8_t client_minor    # 0: an HTTP/1.0 client, told keep-alive when not close
    uint8_t tunnel          # 101: Connection: upgrade and Upgrade go through

cdef ssize_t write_request(
    char *out, size_t room, const Head *h,
    const RequestShape *shape, const RequestFacts *facts
) noexcept nogil
cdef ssize_t write_response(
    char *out, size_t room, const Head *h,
    const ResponseShape *shape, const Framing *framing, const char *date
) noexcept nogil
cdef ssize_t write_reply(
    char *out, size_t room, int status, const char *text,
    const char *server, uint32_t server_len, const char *date, const char *allow,
    bint close, bint head_only
) noexcept nogil
