"""Answers of the gateway's own, into their structs. Runs in: master."""

from fastgate.dataplane.http.status cimport reason_phrase


cdef const Page *fill_pages(object given, Keeper keeper) except NULL:
    """Pages from (Content-Type, body) pairs."""
    cdef Page *pages = <Page *>keeper.array(len(given), sizeof(Page))
    cdef int i
    for i, (content_type, body) in enumerate(given):
        pages[i].content_type = keeper.text(content_type)
        pages[i].body = keeper.text(body)
    return pages


cdef const ErrorPages *fill_errors(
    dict indexes, const Page *pages, int n_pages, Keeper keeper
) except NULL:
    """The page of each status, by its index. Raises IndexError."""
    cdef ErrorPages *errors = <ErrorPages *>keeper.array(1, sizeof(ErrorPages))
    for status, index in indexes.items():
        if not (FIRST_ERROR <= status < FIRST_ERROR + ERRORS and 0 <= index < n_pages):
            raise IndexError(f"error_pages: {status} has page {index}")
        errors.of[<int>status - FIRST_ERROR] = &pages[<int>index]
    return errors


cdef int fill_answer(
    AnswerPlan *a, dict values, const ErrorPages *errors, Keeper keeper
) except -1:
    """How a route's requests are answered, if not by an endpoint.

    values  answer, status, body, content_type, location (bytes, and numbers of
            placeholders, in turn)
    Raises ValueError.
    """
    cdef const Page *page
    cdef Piece *piece
    if not ANSWER_UPSTREAM <= values["answer"] <= ANSWER_REDIRECT:
        raise ValueError(f"answer: {values['answer']}")
    a.kind = values["answer"]
    if a.kind == ANSWER_UPSTREAM:
        return 0
    if not 200 <= values["status"] <= 599:
        raise ValueError(f"status: {values['status']}")
    a.status = values["status"]
    page = page_of(errors, a.status)
    if values["body"] is not None:
        a.page.content_type = keeper.text(values["content_type"])
        a.page.body = keeper.text(values["body"])
    elif page is not NULL:
        a.page = page[0]
    else:
        a.page.content_type = keeper.text("text/plain; charset=utf-8")
        a.page.body = keeper.text(
            f"{values['status']} {reason_phrase(a.status).decode()}\n"
        )
    a.pieces = <Piece *>keeper.array(len(values["location"]), sizeof(Piece))
    for given in values["location"]:
        piece = &a.pieces[a.n_pieces]
        piece.place = PLACE_NONE
        if isinstance(given, bytes):
            piece.text = keeper.text(given)
        elif PLACE_HOST <= given < PLACE_NONE:
            piece.place = given
        else:
            raise ValueError(f"location: {given}")
        a.n_pieces += 1
    return 0
