"""Error pages as files: which are read, and which are refused."""

import os

import pytest

from fastgate.config.bounds import PAGE_BYTES
from fastgate.control.pages import Pages, read_page
from fastgate.errors import StartError


def test_a_page_of_64_kib_is_read_and_a_larger_one_refused(tmp_path):
    page = tmp_path / "502.html"
    page.write_bytes(b"a" * PAGE_BYTES)

    assert read_page(str(page)) == b"a" * PAGE_BYTES
    page.write_bytes(b"a" * (PAGE_BYTES + 1))
    with pytest.raises(StartError, match="is larger than 65536 bytes"):
        read_page(str(page))


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "fifo.html")

    for name, why in (
        ("none.html", "no such file or directory"),
        ("fifo.html", "it is no file"),
        ("", "is a directory"),
    ):
        with pytest.raises(StartError, match=f"cannot be read: {why}"):
            read_page(f"{tmp_path}/{name}")
    with pytest.raises(StartError, match="cannot be read: it is no file"):
        read_page("/dev/null")


def test_a_file_is_read_once_however_many_statuses_it_is_for(tmp_path):
    common, own = tmp_path / "common.html", tmp_path / "own.txt"
    common.write_bytes(b"common")
    own.write_bytes(b"own")
    pages = Pages({"5xx": str(common), "404": str(common)})
    route = pages.of({"503": str(own)})

    assert pages.of({}) is pages.common
    assert pages.common == dict.fromkeys([404, *range(500, 600)], 0)
    assert route == pages.common | {503: 1}
    assert pages.read == [("text/html", b"common"), ("text/plain", b"own")]
