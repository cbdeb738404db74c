"""HTTP/1.x from bytes to a Head: llhttp, our own strictness, canonical forms.

Runs in: worker. The room's one door: what it reads into stands in message.pxd, and
everything that another room needs can be cimported from here.
"""

from libc.stddef cimport size_t

from fastgate.dataplane.h1.chunked cimport chunk_rule, read_chunked
from fastgate.dataplane.h1.strict cimport method_number
from fastgate.dataplane.http.fields cimport header_id, same_name
from fastgate.dataplane.http.message cimport (
    LLHTTP_BYTES, MAX_FIELDS, MAX_HEAD_BYTES, MAX_METHOD_BYTES,
    MAX_RESPONSE_HEAD_BYTES, METHOD_TRACE,
    UNDERSCORES_DROP, UNDERSCORES_PASS, UNDERSCORES_SAFE,
    Field, Head, HeaderId, HeadLimits, Parser,
    H_OTHER, H_HOST, H_CONTENT_LENGTH, H_TRANSFER_ENCODING, H_CONNECTION, H_KEEP_ALIVE,
    H_PROXY_CONNECTION, H_PROXY_AUTHENTICATE, H_PROXY_AUTHORIZATION, H_TE, H_TRAILER,
    H_UPGRADE, H_HTTP2_SETTINGS, H_EXPECT, H_X_FORWARDED_FOR, H_X_FORWARDED_PROTO,
    H_X_FORWARDED_HOST, H_X_FORWARDED_PORT, H_X_FORWARDED_PREFIX, H_X_FORWARDED_OTHER,
    H_X_REAL_IP, H_FORWARDED, H_X_REQUEST_ID, H_VIA, H_SERVER, H_DATE, H_USER_AGENT,
    H_REFERER, H_AUTHORIZATION, H_COOKIE, H_COUNT,
)

cdef void parser_init(Parser *p, bint response, bint lenient) noexcept nogil
cdef bint is_blank_head(const char *buf, size_t n) noexcept nogil
cdef int parse_head(
    Parser *p, Head *h, const HeadLimits *limits,
    const char *buf, size_t n, size_t already, size_t *consumed
) noexcept nogil
