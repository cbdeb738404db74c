"""Status codes: the phrase that each has by its standard. Runs in: worker."""

# Reason phrases: RFC 9110 section 15, RFC 6585, and the registry's others.
cdef const char *PHRASES[600]


cdef void fill_phrases() noexcept:
    cdef int c
    for c in range(600):
        PHRASES[c] = ""
    PHRASES[100] = "Continue"
    PHRASES[101] = "Switching Protocols"
    PHRASES[102] = "Processing"
    PHRASES[103] = "Early Hints"
    PHRASES[200] = "OK"
    PHRASES[201] = "Created"
    PHRASES[202] = "Accepted"
    PHRASES[203] = "Non-Authoritative Information"
    PHRASES[204] = "No Content"
    PHRASES[205] = "Reset Content"
    PHRASES[206] = "Partial Content"
    PHRASES[207] = "Multi-Status"
    PHRASES[208] = "Already Reported"
    PHRASES[226] = "IM Used"
    PHRASES[300] = "Multiple Choices"
    PHRASES[301] = "Moved Permanently"
    PHRASES[302] = "Found"
    PHRASES[303] = "See Other"
    PHRASES[304] = "Not Modified"
    PHRASES[305] = "Use Proxy"
    PHRASES[307] = "Temporary Redirect"
    PHRASES[308] = "Permanent Redirect"
    PHRASES[400] = "Bad Request"
    PHRASES[401] = "Unauthorized"
    PHRASES[402] = "Payment Required"
    PHRASES[403] = "Forbidden"
    PHRASES[404] = "Not Found"
    PHRASES[405] = "Method Not Allowed"
    PHRASES[406] = "Not Acceptable"
    PHRASES[407] = "Proxy Authentication Required"
    PHRASES[408] = "Request Timeout"
    PHRASES[409] = "Conflict"
    PHRASES[410] = "Gone"
    PHRASES[411] = "Length Required"
    PHRASES[412] = "Precondition Failed"
    PHRASES[413] = "Content Too Large"
    PHRASES[414] = "URI Too Long"
    PHRASES[415] = "Unsupported Media Type"
    PHRASES[416] = "Range Not Satisfiable"
    PHRASES[417] = "Expectation Failed"
    PHRASES[421] = "Misdirected Request"
    PHRASES[422] = "Unprocessable Content"
    PHRASES[423] = "Locked"
    PHRASES[424] = "Failed Dependency"
    PHRASES[425] = "Too Early"
    PHRASES[426] = "Upgrade Required"
    PHRASES[428] = "Precondition Required"
    PHRASES[429] = "Too Many Requests"
    PHRASES[431] = "Request Header Fields Too Large"
    PHRASES[451] = "Unavailable For Legal Reasons"
    PHRASES[500] = "Internal Server Error"
    PHRASES[501] = "Not Implemented"
    PHRASES[502] = "Bad Gateway"
    PHRASES[503] = "Service Unavailable"
    PHRASES[504] = "Gateway Timeout"
    PHRASES[505] = "HTTP Version Not Supported"
    PHRASES[506] = "Variant Also Negotiates"
    PHRASES[507] = "Insufficient Storage"
    PHRASES[508] = "Loop Detected"
    PHRASES[511] = "Network Authentication Required"


fill_phrases()


cdef const char *reason_phrase(int status) noexcept nogil:
    """The standard phrase of a status, NUL-terminated; empty if it has none."""
    return PHRASES[status if 0 <= status < 600 else 0]
