"""What is read from the wire: a Head of fields, and the parser's state.

Runs in: worker. A Head borrows spans of the bytes it was read from and of its own
`canon` scratch; both must outlive its use. One Head per worker serves every
connection, because a head that is not complete yet is kept as bytes, not as spans.
"""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    MAX_FIELDS = 513        # room in a Head; the configured limit is at most 512
    MAX_HEAD_BYTES = 61440  # the largest request head that may be configured, 60 KiB
    MAX_RESPONSE_HEAD_BYTES = 65536     # likewise of a response
    CANON_BYTES = MAX_HEAD_BYTES + 1024     # two hosts and a whole target
    LLHTTP_BYTES = 96
    MAX_HEADER_IDS = 64     # a set of HeaderIds is one bit each of an uint64_t

cdef enum HeaderId:         # names the gateway itself has a rule for
    H_OTHER = 0
    H_HOST
    H_CONTENT_LENGTH
    H_TRANSFER_ENCODING
    H_CONNECTION
    H_KEEP_ALIVE
    H_PROXY_CONNECTION
    H_PROXY_AUTHENTICATE
    H_PROXY_AUTHORIZATION
    H_TE
    H_TRAILER
    H_UPGRADE
    H_HTTP2_SETTINGS
    H_EXPECT
    H_X_FORWARDED_FOR
    H_X_FORWARDED_PROTO
    H_X_FORWARDED_HOST
    H_X_FORWARDED_PORT
    H_X_FORWARDED_PREFIX
    H_X_FORWARDED_OTHER     # any other X-Forwarded-*, or an alias: fields.pyx
    H_X_REAL_IP
    H_FORWARDED
    H_X_REQUEST_ID
    H_VIA
    H_SERVER
    H_DATE
    H_USER_AGENT
    H_REFERER
    H_AUTHORIZATION
    H_COOKIE
    H_COUNT                 # at most MAX_HEADER_IDS

cdef inline uint64_t id_bit(int id) noexcept nogil:
    """The set of one HeaderId."""
    return <uint64_t>1 << id

cdef enum BodyKind:         # how the end of a body is known
    BODY_NONE = 0           # there is no body
    BODY_COUNTED
    BODY_CHUNKED
    BODY_RAW                # until the sender ends: EOF-delimited, or a tunnel

cdef struct Field:          # one header line; spans borrowed from the message
    const char *name
    const char *value       # without leading and trailing blanks
    uint32_t value_len
    uint16_t name_len
    uint8_t id              # a HeaderId
    uint8_t dropped         # hop-by-hop, Connection-listed, or a name with `_`

cdef struct Head:
    # start line
    uint8_t method          # methods.pxd's number; requests
    uint8_t minor           # 0 or 1
    uint8_t idempotent      # RFC 9110 section 9.2.2; requests
    uint8_t keep_alive      # what version and Connection say of this side
    uint8_t chunked         # the body is chunked
    uint8_t upgrade         # asks for, or (101) grants, another protocol
    uint8_t has_body        # requests: content_length > 0 or chunked
    uint16_t status         # responses
    uint16_t n_fields
    int64_t content_length  # -1: not given
    const char *method_name  # borrowed from a static table; of an unknown one, as sent
    uint32_t method_len
    # requests: the target as received, which is forwarded from its path on, and the
    # canonical forms that routing, the balancing key and the log use
    uint32_t target_len
    const char *target
    const char *line        # the whole start line as received, without CRLF
    uint32_t line_len
    uint32_t host_len
    const char *host        # lower case, no port, no trailing dot, [v6] in brackets
    const char *authority   # canonical host, and the port if one was given
    uint32_t authority_len
    uint32_t path_len
    const char *path        # the primary reading, no query; "/" at least, or "*"
    const char *raw_path    # as received; "/" or "*" where absolute-form had none
    uint32_t raw_path_len
    uint32_t odd            # canonical.Odd bits: what others may read otherwise
    const char *query       # behind raw_path, with its "?"; empty if none
    uint32_t query_len
    # responses
    uint32_t reason_len
    const char *reason
    uint32_t upgrade_len
    const char *upgrade_value   # the Upgrade field's value
    # a refused head
    const char *start       # where the message begins
    uint32_t sent_len       # and how much of it was there
    const char *rule        # names the rule it broke, static text; NULL: none
    uint32_t rule_at        # offset of the byte that broke it
    int16_t field_of[H_COUNT]   # [HeaderId] index of its first field, or -1
    Field fields[MAX_FIELDS]
    char canon[CANON_BYTES]

cdef inline int broke(
    Head *h, int fault, const char *rule, const char *at
) noexcept nogil:
    """`fault`, with the rule that the byte at `at` of this head broke noted in `h`."""
    h.rule = rule
    h.rule_at = <uint32_t>(at - h.start)
    return fault

cdef enum Underscores:      # request fields with `_` in their names
    UNDERSCORES_SAFE = 0    # dropped when they read as a name with a rule
    UNDERSCORES_DROP
    UNDERSCORES_PASS

cdef struct HeadLimits:
    uint32_t max_head_bytes
    uint32_t max_fields
    uint32_t max_target_bytes
    uint8_t underscores     # an Underscores

cdef struct Parser:         # lives in each connection
    char llhttp[LLHTTP_BYTES]   # first: llhttp's callbacks are given its address
    int64_t body_bytes      # of this message's chunked body, so far
    int64_t framing_bytes   # spent on its chunk lines, so far
    # of a head that is not complete yet, and of the trailer section
    uint32_t target_bytes
    uint32_t trailer_bytes
    uint32_t fields_at      # responses: where the fields begin; 0: not known yet
    uint16_t n_fields       # values begun
    uint16_t max_fields
    uint8_t response
    uint8_t lenient         # responses: bare LF and folds pass
    uint8_t in_value        # the last span was a piece of a value
    uint8_t in_trailer
