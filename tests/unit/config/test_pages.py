"""Which file is the error page of which status."""

from fastgate.config.pages import by_status, check_error_pages, content_type


def test_keys_are_statuses_or_classes_of_them() -> None:
    raw = {502: " /a.html ", "5XX": "b.txt", "404": "c.JSON"}

    assert check_error_pages(raw) == {"502": "/a.html", "5xx": "b.txt", "404": "c.JSON"}


def test_the_content_type_goes_by_the_suffix() -> None:
    assert content_type("/srv/a.b/502.HTML") == "text/html"
    assert content_type("down.json") == "application/json"


def test_a_status_goes_before_its_class_and_a_later_table_before_an_earlier() -> None:
    files = by_status({"502": "g502", "5xx": "g5xx", "4xx": "g4xx"}, {"5xx": "r5xx"})

    assert (files[502], files[404], files[599]) == ("r5xx", "g4xx", "r5xx")
    assert sorted(files) == list(range(400, 600))
    assert by_status({"5xx": "class", "502": "one"})[502] == "one"
    assert by_status({"502": "one", "5xx": "class"})[502] == "one"
    assert by_status({}) == {}
