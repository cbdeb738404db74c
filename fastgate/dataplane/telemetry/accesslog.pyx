"""The access log. Runs in: worker.

Every value has a budget of bytes and the budgets of a line add up to less than
MAX_LINE_BYTES, so a line is written straight into the buffer without checks as
soon as that much room is left. Buffers go whole to the writer (logwriter.pyx).
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastgate.dataplane.base.text cimport put
from fastgate.dataplane.base.words cimport load8, put_decimal, put_padded
from fastgate.dataplane.telemetry.logwriter cimport (
    writer_close, writer_make, writer_put, writer_reopen, writer_state,
)

cdef enum:                  # budgets, in bytes as escaped
    ADDRESS_BYTES = 64
    WORD_BYTES = 256        # user, host, request id, names of the configuration
    REQUEST_BYTES = 3072
    REFERER_BYTES = 1536
    AGENT_BYTES = 1024
    ISO_SECOND_BYTES = 19       # of a time, what stands before the offset

cdef const char *HEX_UPPER = "0123456789ABCDEF"
cdef const char *HEX_LOWER = "0123456789abcdef"


# --- values -------------------------------------------------------------------


cdef inline uint64_t special(uint64_t word) noexcept nogil:
    """0x80 in every byte that one of the formats escapes; others stand for themselves.

    These are `"`, `\\`, controls, and all from 0x7f up. Exact: no carry crosses.
    """
    cdef uint64_t low = word & 0x7f7f7f7f7f7f7f7fU
    cdef uint64_t is_printable = low + 0x6060606060606060U
    cdef uint64_t is_delete = low + 0x0101010101010101U
    cdef uint64_t is_quote = 0x8080808080808080U - (low ^ 0x2222222222222222U)
    cdef uint64_t is_slash = 0x8080808080808080U - (low ^ 0x5c5c5c5c5c5c5c5cU)
    return (
        (~is_printable | is_delete | is_quote | is_slash | word)
        & 0x8080808080808080U
    )


cdef int utf8_length(const uint8_t *p, size_t n) noexcept nogil:
    """Bytes of the well-formed character at p, 2 to 4, or 0 (Unicode 15, table 3-7).

    C1 controls (U+0080 to U+009F) count as malformed: a terminal would obey them.
    """
    cdef uint8_t lowest = 0x80
    cdef uint8_t highest = 0xbf
    cdef int length, i
    if 0xc2 <= p[0] <= 0xdf:
        length = 2
        if p[0] == 0xc2:
            lowest = 0xa0
    elif 0xe0 <= p[0] <= 0xef:
        length = 3
        if p[0] == 0xe0:
            lowest = 0xa0
        elif p[0] == 0xed:
            highest = 0x9f
    elif 0xf0 <= p[0] <= 0xf4:
        length = 4
        if p[0] == 0xf0:
            lowest = 0x90
        elif p[0] == 0xf4:
            highest = 0x8f
    else:
        return 0
    if n < <size_t>length or not lowest <= p[1] <= highest:
        return 0
    for i in range(2, length):
        if not 0x80 <= p[i] <= 0xbf:
            return 0
    return length


cdef char *put_escaped(
    char *at, const Text *text, size_t budget, bint json
) noexcept nogil:
    """Write a value escaped, cut where the next character would pass the budget.

    combined: nginx's `escape=default`, \\xXX with capitals for `"`, `\\`, controls
    and everything from 0x7f up. JSON: RFC 8259 section 7; well-formed UTF-8 stands
    as it is, any other byte XX as \\u00XX, so that the line is always UTF-8.
    """
    cdef const char *p = text.at
    cdef size_t left = text.len
    cdef char *end = at + budget
    cdef uint64_t word
    cdef uint8_t c
    cdef int n
    while left:
        if left >= 8 and end - at >= 8:
            word = load8(p)
            if special(word) == 0:
                memcpy(at, &word, 8)
                at += 8
                p += 8
                left -= 8
                continue
        c = <uint8_t>p[0]
        n = 1
        if 0x20 <= c < 0x7f and c != c'"' and c != c'\\':
            if end - at < 1:
                break
            at[0] = <char>c
            at += 1
        elif not json:
            if end - at < 4:
                break
            at[0] = c'\\'
            at[1] = c'x'
            at[2] = HEX_UPPER[c >> 4]
            at[3] = HEX_UPPER[c & 15]
            at += 4
        elif c == c'"' or c == c'\\':
            if end - at < 2:
                break
            at[0] = c'\\'
            at[1] = <char>c
            at += 2
        else:
            n = utf8_length(<const uint8_t *>p, left)
            if n:
                if end - at < n:
                    break
                memcpy(at, p, n)
                at += n
            else:
                if end - at < 6:
                    break
                memcpy(at, <const char *>"\\u00", 4)
                at[4] = HEX_LOWER[c >> 4]
                at[5] = HEX_LOWER[c & 15]
                at += 6
                n = 1
        p += n
        left -= n
    return at


cdef inline char *put_count(char *at, int64_t number) noexcept nogil:
    return put_decimal(at, <uint64_t>number if number > 0 else 0)


cdef char *put_ms(char *at, int64_t us) noexcept nogil:
    """Write microseconds as milliseconds with three decimals."""
    if us < 0:
        us = 0
    at = put_decimal(at, <uint64_t>(us // 1000))
    at[0] = c'.'
    return put_padded(at + 1, <int>(us % 1000), 3)


# --- lines --------------------------------------------------------------------


cdef char *put_or_dash(char *at, const Text *text, size_t budget) noexcept nogil:
    """Write a value, or nginx's `-` for a variable that was not found."""
    if text.at is NULL:
        at[0] = c'-'
        return at + 1
    return put_escaped(at, text, budget, False)


cdef char *put_combined(
    char *at, const Clock *clock, const LogRecord *r
) noexcept nogil:
    """nginx's `combined`, byte for byte; a header sent empty is "", not "-"."""
    cdef Text user = r.remote_user
    cdef Text line = r.request_line
    if user.len == 0:
        user.at = NULL
    if line.len == 0:
        line.at = NULL
    at = put_or_dash(at, &r.remote_addr, ADDRESS_BYTES)
    at = put(at, " - ")
    at = put_or_dash(at, &user, WORD_BYTES)
    at = put(at, " [")
    at = put(at, clock.local_time)
    at = put(at, '] "')
    at = put_or_dash(at, &line, REQUEST_BYTES)
    at = put(at, '" ')
    at = put_padded(at, r.status if 0 <= r.status <= 999 else 0, 3)
    at = put(at, " ")
    at = put_count(at, r.bytes_out)
    at = put(at, ' "')
    at = put_or_dash(at, &r.referer, REFERER_BYTES)
    at = put(at, '" "')
    at = put_or_dash(at, &r.user_agent, AGENT_BYTES)
    return put(at, '"\n')


cdef char *put_plus(char *at, const LogRecord *r) noexcept nogil:
    """Write, over the newline of combined, what tells why and how long.

    ` reason milliseconds "endpoint" "request id"`, `-` for what was not there.
    """
    cdef Text endpoint = r.endpoint
    cdef Text id = r.request_id
    if endpoint.len == 0:
        endpoint.at = NULL
    if id.len == 0:
        id.at = NULL
    at = put(at - 1, " ")
    at = put_or_dash(at, &r.reason, WORD_BYTES)
    at = put(at, " ")
    at = put_ms(at, r.total_us)
    at = put(at, ' "')
    at = put_or_dash(at, &endpoint, WORD_BYTES)
    at = put(at, '" "')
    at = put_or_dash(at, &id, WORD_BYTES)
    return put(at, '"\n')


cdef inline char *put_member(
    char *at, const char *key, const Text *text, size_t budget
) noexcept nogil:
    """Write `,"key":"value"`, or null for a value that was not there."""
    at = put(at, key)
    if text.at is NULL:
        return put(at, "null")
    at[0] = c'"'
    at = put_escaped(at + 1, text, budget, True)
    at[0] = c'"'
    return at + 1


cdef inline char *put_name(
    char *at, const char *key, const Text *text
) noexcept nogil:
    """Write a member whose empty value means none."""
    cdef Text name = text[0]
    if name.len == 0:
        name.at = NULL
    return put_member(at, key, &name, WORD_BYTES)


cdef char *put_json(
    char *at, const Clock *clock, const LogRecord *r
) noexcept nogil:
    """One JSON object; keys are always there, null says that there was no value."""
    cdef Text reason = r.reason
    if reason.len == 1 and reason.at[0] == c'-':
        reason.len = 0      # the table of faults writes no fault as combined would
    at = put(at, '{"time":"')
    memcpy(at, clock.iso_time, ISO_SECOND_BYTES)
    at[ISO_SECOND_BYTES] = c'.'
    at = put_padded(at + ISO_SECOND_BYTES + 1, r.time_ms, 3)
    at = put(at, clock.iso_time + ISO_SECOND_BYTES)
    at = put_member(at, '","client":', &r.remote_addr, ADDRESS_BYTES)
    at = put_member(at, ',"request":', &r.request_line, REQUEST_BYTES)
    at = put(at, ',"status":')
    at = put_count(at, r.status)
    at = put(at, ',"bytes_in":')
    at = put_count(at, r.bytes_in)
    at = put(at, ',"bytes_out":')
    at = put_count(at, r.bytes_out)
    at = put(at, ',"duration_ms":')
    at = put_ms(at, r.total_us)
    at = put(at, ',"upstream_ms":')
    if r.upstream_us < 0:
        at = put(at, "null")
    else:
        at = put_ms(at, r.upstream_us)
    at = put_name(at, ',"host":', &r.host)
    at = put_name(at, ',"route":', &r.route)
    if r.is_ambiguous:
        at = put_name(at, ',"other_route":', &r.other_route)
    at = put_name(at, ',"upstream":', &r.upstream)
    at = put_name(at, ',"endpoint":', &r.endpoint)
    at = put_name(at, ',"request_id":', &r.request_id)
    at = put_member(at, ',"referer":', &r.referer, REFERER_BYTES)
    at = put_member(at, ',"user_agent":', &r.user_agent, AGENT_BYTES)
    at = put_name(at, ',"reason":', &reason)
    at = put(at, ',"retries":')
    at = put_count(at, r.retries)
    return put(at, "}\n")


cdef void log_line(
    Log *log, const Clock *clock, const LogRecord *record
) noexcept nogil:
    """Append one line; writes the buffer out first if a line might not fit."""
    cdef char *at
    if log.format == LOG_OFF or log.data is NULL:
        return
    if log.size - log.used < MAX_LINE_BYTES:
        log_flush(log)
    at = log.data + log.used
    if log.format == LOG_JSON:
        at = put_json(at, clock, record)
    else:
        at = put_combined(at, clock, record)
        if log.format == LOG_COMBINED_PLUS:
            at = put_plus(at, record)
    log.used = at - log.data


# --- the buffer and its writer ------------------------------------------------


cdef void log_flush(Log *log) noexcept nogil:
    """Hand the buffer to the writer, which drops what it has no room for."""
    if log.used:
        writer_put(log.writer, log.data, log.used)
    log.used = 0


cdef int log_open(
    Log *log, int fd, int format, size_t size, size_t queue_bytes
) except -1:
    """Begin a log of `format` on `fd`, which it owns from now on.

    size    of the buffer in bytes, at least MIN_LOG_BYTES; none is made for LOG_OFF
    queue_bytes  what may wait for the disk; at least twice the buffer
    Raises ValueError for a smaller buffer, MemoryError.
    """
    memset(log, 0, sizeof(Log))
    log.format = format
    if format == LOG_OFF:
        return 0
    if size < MIN_LOG_BYTES:
        raise ValueError(
            f"access log: a buffer of {size} bytes is less than {MIN_LOG_BYTES}"
        )
    log.data = <char *>malloc(size)
    if log.data is NULL:
        raise MemoryError(f"access log: buffer of {size} bytes")
    log.size = size
    log.writer = writer_make(fd, max(queue_bytes, 2 * size))
    return 0


cdef void log_close(Log *log, int within_ms) noexcept nogil:
    """Write out what is buffered and queued, for so long; free it; close the file."""
    if log.writer is not NULL:
        log_flush(log)
        log.dropped = writer_close(log.writer, within_ms)
        log.writer = NULL
    free(log.data)
    log.data = NULL
    log.size = 0
    log.format = LOG_OFF


cdef void log_reopen(Log *log, int fd) noexcept nogil:
    """Finish the old file and go on in `fd`: rotation, on USR1."""
    if log.writer is not NULL:
        log_flush(log)
        writer_reopen(log.writer, fd)


cdef int64_t log_dropped(Log *log, int *error, bint *settled) noexcept nogil:
    """The lines lost so far, why the last write failed, whether nothing waits."""
    error[0] = 0
    settled[0] = True
    if log.writer is NULL:
        return log.dropped
    return writer_state(log.writer, error, settled)
