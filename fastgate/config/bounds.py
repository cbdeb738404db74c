"""What compiled code has room for, and a configuration therefore keeps to.

Runs in: every process.

Each number is the data plane's own. It stands here once more because this room
imports nothing compiled; `tests/unit/config/test_bounds.py` holds every one of
them to `_core.LIMITS`, so none can change alone.
"""

# Rows and slots of the shared memory.
WORKERS = 256
ENDPOINTS = 65536
WEIGHT = 256
# Endpoints that one exchange may try: the first, a replay, and the retries.
TRIES = 10
# Of a request's head as it is read; of the room for fields, one stays free.
HEAD_BYTES = 61440
HEAD_FIELDS = 513
FIELDS_KEPT = 1
# Of a response's head as it is read.
ANSWER_HEAD_BYTES = 65536
# Rules of one table of header rules: a bit each while a head is written.
HEADER_RULES = 64
# A head as it is written: what was read, the gateway's own fields, the rules'.
REQUEST_HEAD_BYTES = 131072
RESPONSE_HEAD_BYTES = 81920
# What the gateway's own fields take at most. A request: the authority four times
# (RFC 1035: 255 bytes), addresses, an identifier. A response: Date, Via, framing.
OWN_REQUEST_BYTES = 4096
OWN_RESPONSE_BYTES = 1024
# Of an access log: the room for one line, and one more.
LEAST_LOG_BUFFER_BYTES = 16384
# Of a method that the parser does not know: a longer one is not told by its name.
METHOD_BYTES = 32
# Of the Server field: an answer of the gateway's own has 1024 bytes in all.
SERVER_BYTES = 256
# Of an error page and of the body of `respond`: every worker holds them all.
PAGE_BYTES = 65536
# sockaddr_un holds 108 bytes with its terminating zero.
UNIX_PATH_BYTES = 107
