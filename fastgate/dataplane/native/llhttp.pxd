"""llhttp as httptools ships it, bound by name at import.

Runs in: every process. Our own declarations of the public C ABI of llhttp 9 for
64-bit little-endian Linux; llhttp.pyx proves at import that the library that was
found has this layout, and raises ImportError otherwise.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint16_t, uint64_t

cdef enum:
    LLHTTP_PARSER_BYTES = 96
    LLHTTP_SETTINGS_BYTES = 200

cdef enum LlhttpType:
    LLHTTP_REQUEST = 1
    LLHTTP_RESPONSE = 2

cdef enum LlhttpError:          # the numbers that a strict parser can report to us
    HPE_OK = 0
    HPE_INTERNAL = 1
    HPE_STRICT = 2
    HPE_LF_EXPECTED = 3
    HPE_UNEXPECTED_CONTENT_LENGTH = 4
    HPE_CLOSED_CONNECTION = 5
    HPE_INVALID_METHOD = 6
    HPE_INVALID_URL = 7
    HPE_INVALID_CONSTANT = 8
    HPE_INVALID_VERSION = 9
    HPE_INVALID_HEADER_TOKEN = 10
    HPE_INVALID_CONTENT_LENGTH = 11
    HPE_INVALID_CHUNK_SIZE = 12
    HPE_INVALID_STATUS = 13
    HPE_INVALID_EOF_STATE = 14
    HPE_INVALID_TRANSFER_ENCODING = 15
    HPE_PAUSED = 21
    HPE_PAUSED_UPGRADE = 22
    HPE_PAUSED_H2_UPGRADE = 23
    HPE_USER = 24
    HPE_CR_EXPECTED = 25

cdef enum:                      # of LlhttpFields.flags
    F_CHUNKED = 0x08            # what follows the head is read as chunks
    F_CONTENT_LENGTH = 0x20     # one was read

# A parser is LLHTTP_PARSER_BYTES of memory owned by the caller, aligned to 8.
ctypedef int (*llhttp_cb)(void *parser) noexcept nogil
ctypedef int (*llhttp_data_cb)(
    void *parser, const char *at, size_t length
) noexcept nogil

cdef struct LlhttpSettings:     # 200 bytes; what has no name here stays NULL
    llhttp_cb on_message_begin
    llhttp_data_cb on_protocol
    llhttp_data_cb on_url
    llhttp_data_cb on_status
    llhttp_data_cb on_method
    llhttp_data_cb on_version
    llhttp_data_cb on_header_field
    llhttp_data_cb on_header_value
    void *_unused_64[2]
    llhttp_cb on_headers_complete
    llhttp_data_cb on_body
    llhttp_cb on_message_complete
    void *_unused_104[9]
    llhttp_cb on_chunk_header
    void *_unused_184[2]

cdef struct LlhttpFields:       # what no getter gives, by the offsets of the ABI
    char _0[48]
    void *data                  # the caller's; llhttp only keeps it
    char _56[8]
    uint64_t content_length     # of the message, or left of the current chunk
    char _72[10]
    uint16_t flags
    char _84[4]
    const LlhttpSettings *settings

cdef void (*llhttp_init)(
    void *parser, int type, const LlhttpSettings *settings
) noexcept nogil
cdef void (*llhttp_settings_init)(LlhttpSettings *settings) noexcept nogil
cdef int (*llhttp_execute)(void *parser, const char *data, size_t n) noexcept nogil
cdef void (*llhttp_reset)(void *parser) noexcept nogil
cdef void (*llhttp_resume)(void *parser) noexcept nogil
cdef int (*llhttp_get_errno)(const void *parser) noexcept nogil
cdef const char *(*llhttp_get_error_pos)(const void *parser) noexcept nogil
cdef const char *(*llhttp_get_error_reason)(const void *parser) noexcept nogil
cdef void (*llhttp_set_lenient_headers)(void *parser, int on) noexcept nogil
cdef void (*llhttp_set_lenient_optional_cr_before_lf)(
    void *parser, int on
) noexcept nogil
cdef void (*llhttp_set_lenient_spaces_after_chunk_size)(
    void *parser, int on
) noexcept nogil
cdef void (*llhttp_set_lenient_version)(void *parser, int on) noexcept nogil
cdef int (*llhttp_get_method)(void *parser) noexcept nogil
cdef int (*llhttp_get_http_major)(void *parser) noexcept nogil
cdef int (*llhttp_get_http_minor)(void *parser) noexcept nogil
cdef int (*llhttp_get_status_code)(void *parser) noexcept nogil
cdef const char *(*llhttp_method_name)(int method) noexcept nogil
