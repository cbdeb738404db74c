"""Error pages: which file is sent for which status.

Runs in: every process (imported only where configuration is read).
"""

import re
from collections.abc import Mapping
from os.path import splitext

from pydantic_core import PydanticCustomError

from fastgate.config.checks import Fault, fault, raise_all
from fastgate.config.units import nearest, show

# Of a file, by its suffix. Without a charset, so that what a page says of itself
# holds.
CONTENT_TYPES = {
    ".html": "text/html",
    ".htm": "text/html",
    ".txt": "text/plain",
    ".json": "application/json",
    ".xml": "application/xml",
    ".xhtml": "application/xhtml+xml",
    ".svg": "image/svg+xml",
}

_STATUS = re.compile(r"[45](?:[0-9][0-9]|xx)")


def content_type(path: str) -> str:
    """Give the Content-Type of a file that `check_error_pages` took."""
    return CONTENT_TYPES[splitext(path)[1].lower()]


def check_error_pages(raw: object) -> dict[str, str]:
    """Take a table of statuses, or classes of them, and files."""
    if not isinstance(raw, dict):
        raise fault(f"{show(raw)} is not a table of statuses and files")
    pages: dict[str, str] = {}
    found: list[Fault] = []
    for key, path in raw.items():
        try:
            status = _check_status(key)
            if status in pages:
                raise fault(f"{show(status)} is given twice")
            pages[status] = _check_file(path)
        except PydanticCustomError as error:
            found.append(Fault(str(key), error))
    raise_all(found)
    return pages


def _check_status(key: object) -> str:
    status = str(key).strip().lower()
    if not _STATUS.fullmatch(status):
        raise fault(
            f"{show(key)} is not a status with an error page: 400..599, 4xx or 5xx",
            nearest(status, ["4xx", "5xx"]),
        )
    return status


def _check_file(path: object) -> str:
    if not isinstance(path, str) or not path.strip():
        raise fault(f"{show(path)} is not a path")
    if any(not c.isprintable() for c in path):
        raise fault(f"{show(path)} holds a control character")
    suffix = splitext(path.strip())[1].lower()
    if suffix not in CONTENT_TYPES:
        raise fault(
            f"{show(path)}: the Content-Type goes by the suffix, one of"
            f" {', '.join(CONTENT_TYPES)}"
        )
    return path.strip()


def by_status(*tables: Mapping[str, str]) -> dict[int, str]:
    """Give the file of each status, the most specific table last.

    In one table a status goes before its class; a later table before an earlier one.
    """
    files: dict[int, str] = {}
    for table in tables:
        for key in sorted(table, key=str.isdigit):
            first = int(key.replace("x", "0"))
            last = first if key.isdigit() else first + 99
            files.update(dict.fromkeys(range(first, last + 1), table[key]))
    return files
