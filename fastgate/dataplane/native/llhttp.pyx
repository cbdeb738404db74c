"""llhttp as httptools ships it, bound by name at import.

Runs in: every process. httptools' compiled module exports llhttp, by accident and
not by promise, so what is bound is proved before it is used: the sizes of its two
structs (an unknown llhttp would call the wrong callbacks), and the few fields that
no getter gives. Anything else is an ImportError that names the versions that work;
there is no second parser to fall back to (docs/decisions/0003-one-parser.md).

The module is opened with RTLD_NOLOAD and never RTLD_GLOBAL: other copies of llhttp
in the process keep their own symbols.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memset

import importlib.metadata
import os
import sys

import httptools.parser.parser as httptools_parser

cdef extern from "<dlfcn.h>" nogil:
    int RTLD_NOW
    int RTLD_NOLOAD
    void *dlopen(const char *path, int flags)
    void *dlsym(void *handle, const char *name)

WORKING = "httptools 0.7.1 to 0.9.0 on 64-bit little-endian Linux"

cdef enum:
    PROBE_BYTES = 1024
    PROBE_FILL = 0xAA

cdef char PROBE[PROBE_BYTES]


def refuse(reason: str) -> ImportError:
    """The one error of this module: what is wrong, and what would work."""
    version = importlib.metadata.version("httptools")
    return ImportError(
        f"llhttp inside httptools {version}: {reason}; fastgate works with {WORKING}"
    )


cdef void *symbol(void *library, bytes name) except NULL:
    cdef void *found = dlsym(library, name)
    if found is NULL:
        raise refuse(f"{name.decode()} is not exported")
    return found


cdef size_t cleared() noexcept:
    """How many bytes from the start of PROBE no longer have the fill everywhere."""
    cdef size_t last = PROBE_BYTES
    while last > 0 and <unsigned char>PROBE[last - 1] == PROBE_FILL:
        last -= 1
    return last


def bind() -> None:
    global llhttp_init, llhttp_settings_init, llhttp_execute, llhttp_reset
    global llhttp_resume, llhttp_get_errno
    global llhttp_get_error_pos, llhttp_get_error_reason
    global llhttp_get_method, llhttp_get_http_major
    global llhttp_get_http_minor, llhttp_get_status_code, llhttp_method_name
    global llhttp_set_lenient_headers, llhttp_set_lenient_optional_cr_before_lf
    global llhttp_set_lenient_spaces_after_chunk_size, llhttp_set_lenient_version
    if sys.byteorder != "little" or sizeof(void *) != 8:
        raise refuse("this machine is not 64-bit little-endian")
    path = os.fsencode(httptools_parser.__file__)
    # The handle is kept for the life of the process: never dlclosed.
    cdef void *so = dlopen(path, RTLD_NOW | RTLD_NOLOAD)
    if so is NULL:
        raise refuse("its compiled module cannot be opened again")
    llhttp_init = <void (*)(
        void *, int, const LlhttpSettings *
    ) noexcept nogil>symbol(so, b"llhttp_init")
    llhttp_settings_init = <void (*)(
        LlhttpSettings *
    ) noexcept nogil>symbol(so, b"llhttp_settings_init")
    llhttp_execute = <int (*)(
        void *, const char *, size_t
    ) noexcept nogil>symbol(so, b"llhttp_execute")
    llhttp_reset = <void (*)(void *) noexcept nogil>symbol(so, b"llhttp_reset")
    llhttp_resume = <void (*)(void *) noexcept nogil>symbol(so, b"llhttp_resume")
    llhttp_get_errno = <int (*)(
        const void *
    ) noexcept nogil>symbol(so, b"llhttp_get_errno")
    llhttp_get_error_pos = <const char *(*)(
        const void *
    ) noexcept nogil>symbol(so, b"llhttp_get_error_pos")
    llhttp_get_error_reason = <const char *(*)(
        const void *
    ) noexcept nogil>symbol(so, b"llhttp_get_error_reason")
    llhttp_get_method = <int (*)(void *) noexcept nogil>symbol(
        so, b"llhttp_get_method"
    )
    llhttp_get_http_major = <int (*)(void *) noexcept nogil>symbol(
        so, b"llhttp_get_http_major"
    )
    llhttp_get_http_minor = <int (*)(void *) noexcept nogil>symbol(
        so, b"llhttp_get_http_minor"
    )
    llhttp_get_status_code = <int (*)(void *) noexcept nogil>symbol(
        so, b"llhttp_get_status_code"
    )
    llhttp_method_name = <const char *(*)(int) noexcept nogil>symbol(
        so, b"llhttp_method_name"
    )
    llhttp_set_lenient_headers = <void (*)(void *, int) noexcept nogil>symbol(
        so, b"llhttp_set_lenient_headers"
    )
    llhttp_set_lenient_optional_cr_before_lf = <void (*)(
        void *, int
    ) noexcept nogil>symbol(so, b"llhttp_set_lenient_optional_cr_before_lf")
    llhttp_set_lenient_spaces_after_chunk_size = <void (*)(
        void *, int
    ) noexcept nogil>symbol(so, b"llhttp_set_lenient_spaces_after_chunk_size")
    llhttp_set_lenient_version = <void (*)(void *, int) noexcept nogil>symbol(
        so, b"llhttp_set_lenient_version"
    )


def check_sizes() -> None:
    """The ABI probe: both init functions clear exactly the struct they are given.

    Raises ImportError for any other size. llhttp has no version symbol at run time.
    """
    memset(PROBE, PROBE_FILL, PROBE_BYTES)
    llhttp_settings_init(<LlhttpSettings *><void *>PROBE)
    settings_bytes = cleared()
    memset(PROBE, PROBE_FILL, PROBE_BYTES)
    llhttp_init(PROBE, LLHTTP_REQUEST, NULL)
    parser_bytes = cleared()
    if (parser_bytes, settings_bytes) != (LLHTTP_PARSER_BYTES, LLHTTP_SETTINGS_BYTES):
        raise refuse(
            f"its structs are {parser_bytes} and {settings_bytes} bytes,"
            f" not {LLHTTP_PARSER_BYTES} and {LLHTTP_SETTINGS_BYTES}"
        )


# What the self-test saw: one entry a callback, in order.
cdef struct Seen:
    int urls
    int names
    int values
    int bodies
    int chunk_headers
    uint64_t chunk_sizes
    int others

cdef Seen seen


cdef int count_url(void *parser, const char *at, size_t n) noexcept nogil:
    seen.urls += n == 2 and memcmp(at, b"/a", 2) == 0
    return HPE_OK


cdef int count_name(void *parser, const char *at, size_t n) noexcept nogil:
    seen.names += n == 17 and memcmp(at, b"Transfer-Encoding", 17) == 0
    return HPE_OK


cdef int count_value(void *parser, const char *at, size_t n) noexcept nogil:
    seen.values += n == 7 and memcmp(at, b"chunked", 7) == 0
    return HPE_OK


cdef int count_body(void *parser, const char *at, size_t n) noexcept nogil:
    seen.bodies += n == 3 and memcmp(at, b"xyz", 3) == 0
    return HPE_OK


cdef int count_chunk_header(void *parser) noexcept nogil:
    seen.chunk_headers += 1
    seen.chunk_sizes += (<LlhttpFields *>parser).content_length
    return HPE_OK


cdef int count_other(void *parser, const char *at, size_t n) noexcept nogil:
    seen.others += 1
    return HPE_OK


cdef int stop_here(void *parser) noexcept nogil:
    return HPE_PAUSED


def check_fields() -> None:
    """Parse one known message and compare every field and callback that is used.

    Raises ImportError when one of them is not where the ABI has it.
    """
    cdef LlhttpSettings settings
    cdef LlhttpFields parser
    cdef const char *head = b"PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    cdef const char *body = b"3\r\nxyz\r\n0\r\n\r\nGET"
    cdef const char *plain = b"HTTP/1.0 404 No\r\nContent-Length: 77\r\n\r\n"
    cdef void *mark = <void *>&seen
    assert sizeof(LlhttpSettings) == LLHTTP_SETTINGS_BYTES
    assert sizeof(LlhttpFields) == LLHTTP_PARSER_BYTES

    memset(&seen, 0, sizeof(seen))
    llhttp_settings_init(&settings)
    settings.on_url = count_url
    settings.on_status = count_other
    settings.on_header_field = count_name
    settings.on_header_value = count_value
    settings.on_headers_complete = stop_here
    settings.on_body = count_body
    settings.on_message_complete = stop_here
    settings.on_chunk_header = count_chunk_header
    llhttp_init(&parser, LLHTTP_REQUEST, &settings)
    parser.data = mark
    ok = (
        llhttp_execute(&parser, head, 47) == HPE_PAUSED
        and llhttp_get_errno(&parser) == HPE_PAUSED
        and llhttp_get_error_pos(&parser) == head + 47
        and llhttp_method_name(llhttp_get_method(&parser)) == b"PUT"
        and llhttp_get_http_major(&parser) == 1
        and llhttp_get_http_minor(&parser) == 1
        and parser.data == mark
        and parser.settings == &settings
        and parser.flags & F_CHUNKED
    )
    llhttp_resume(&parser)
    ok = (
        ok
        and llhttp_execute(&parser, body, 16) == HPE_PAUSED
        and llhttp_get_error_pos(&parser) == body + 13
        and seen.urls == seen.names == seen.values == seen.bodies == 1
        and seen.chunk_headers == 2
        and seen.chunk_sizes == 3
        and seen.others == 0
    )
    # reset() keeps data and settings and nothing else.
    llhttp_reset(&parser)
    ok = (
        ok
        and parser.data == mark
        and parser.settings == &settings
        and llhttp_get_errno(&parser) == HPE_OK
    )
    llhttp_init(&parser, LLHTTP_RESPONSE, &settings)
    ok = (
        ok
        and llhttp_execute(&parser, plain, 39) == HPE_PAUSED
        and parser.content_length == 77
        and parser.flags == F_CONTENT_LENGTH
        and llhttp_get_status_code(&parser) == 404
        and llhttp_get_http_minor(&parser) == 0
        and seen.others == 1
    )
    if not ok:
        raise refuse("a known message was not read as expected")


bind()
check_sizes()
check_fields()


def has_sse42(code: bytes) -> bool:
    """Whether a compiled llhttp holds PCMPESTRI, by its three bytes of opcode.

    llhttp's loop over a field value has a form with that instruction (SSE4.2), which
    takes 16 bytes at a time; the wheels, made for every x86-64, are built without.
    """
    return b"\x66\x0f\x3a\x61" in code


def native_versions() -> dict[str, str]:
    """What is bound, for `fastgate version`: library to a word on its version."""
    version = importlib.metadata.version("httptools")
    with open(httptools_parser.__file__, "rb") as file:
        vectors = "with" if has_sse42(file.read()) else "without"
    return {
        "llhttp": f"of httptools {version} (parser {LLHTTP_PARSER_BYTES} B,"
        f" settings {LLHTTP_SETTINGS_BYTES} B, {vectors} SSE4.2)",
    }
