"""Answers of the gateway's own: error pages, direct responses, redirects.

Runs in: every process (made by the master).
"""

from libc.stdint cimport uint8_t, uint16_t

from fastgate.dataplane.base.text cimport Text
from fastgate.dataplane.plan.keeper cimport Keeper

cdef enum AnswerKind:
    ANSWER_UPSTREAM = 0         # an endpoint answers
    ANSWER_RESPOND
    ANSWER_REDIRECT

cdef enum Placeholder:          # in a redirect's URL, numbered as in config/redirect
    PLACE_HOST = 0
    PLACE_PATH
    PLACE_QUERY
    PLACE_SCHEME
    PLACE_NONE                  # the piece is a text of its own

cdef enum:
    FIRST_ERROR = 400
    ERRORS = 200                # statuses that may have a page

cdef struct Page:
    Text content_type
    Text body

cdef struct ErrorPages:
    const Page *of[ERRORS]      # [status - FIRST_ERROR]; NULL: one line of text

cdef struct Piece:
    int place                   # a Placeholder
    Text text                   # of PLACE_NONE

cdef struct AnswerPlan:         # of a route
    uint8_t kind                # an AnswerKind
    uint16_t status             # unless an endpoint answers
    Page page                   # what it carries
    Piece *pieces               # of a redirect
    int n_pieces

cdef inline const Page *page_of(const ErrorPages *pages, int status) noexcept nogil:
    """The page of a status, or NULL: one line of text is said."""
    if not FIRST_ERROR <= status < FIRST_ERROR + ERRORS:
        return NULL
    return pages.of[status - FIRST_ERROR]

cdef const Page *fill_pages(object given, Keeper keeper) except NULL
cdef const ErrorPages *fill_errors(
    dict indexes, const Page *pages, int n_pages, Keeper keeper
) except NULL
cdef int fill_answer(
    AnswerPlan *a, dict values, const ErrorPages *errors, Keeper keeper
) except -1
