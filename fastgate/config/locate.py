"""Where in a TOML text a key stands.

Runs in: every process (imported only where configuration is read).

tomllib gives values without places, so this walks the text a second time and
notes the offset of every key and array element. It trusts the text to be valid
TOML 1.0 (tomllib has read it already): it looks for the ends of things, not for
faults, and where it is surprised it stops and keeps what it has. A path that
was not noted falls back to its nearest enclosing one.
"""

import re
import tomllib
from bisect import bisect_right
from contextlib import suppress

Path = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"[ \t]*")
_SPACE_LINES_COMMENTS = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRINGS = (
    re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL),
    re.compile(r"'''(?:[^']|'(?!''))*'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)
_OTHER_VALUE = re.compile(r"[^,\]}#\n]+")

# The attribute of the model holds several; a file may write one.
_SINGULAR = {"addresses": "address"}


class _SurprisedError(Exception):
    """The text is not what a valid one would be."""


class _Walk:
    """One pass over a text, filling `offsets`: path -> offset of its key."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.offsets: dict[Path, int] = {}
        self.tables: dict[Path, int] = {}  # arrays of tables -> last index

    def run(self) -> None:
        prefix: Path = ()
        self._skip(_SPACE_LINES_COMMENTS)
        while self.at < len(self.text):
            if self._take("[["):
                prefix = self._header(is_array=True)
            elif self._take("["):
                prefix = self._header(is_array=False)
            else:
                self._pair(prefix)
            self._skip(_SPACE_LINES_COMMENTS)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()

    def _take(self, token: str) -> bool:
        if self.text.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise _SurprisedError

    def _key(self) -> list[tuple[str, int]]:
        """Read a dotted key: its parts, each with its offset."""
        parts: list[tuple[str, int]] = []
        while True:
            self._skip(_SPACE)
            start = self.at
            bare = _BARE_KEY.match(self.text, start)
            if bare:
                self.at = bare.end()
                parts.append((bare[0], start))
            else:
                self._string()
                quoted = self.text[start : self.at]
                parts.append((tomllib.loads(f"k = {quoted}")["k"], start))
            self._skip(_SPACE)
            if not self._take("."):
                return parts

    def _string(self) -> None:
        for pattern in _STRINGS:
            found = pattern.match(self.text, self.at)
            if found:
                self.at = found.end()
                return
        raise _SurprisedError

    def _note(self, path: Path, offset: int) -> None:
        self.offsets.setdefault(path, offset)

    def _header(self, *, is_array: bool) -> Path:
        path: Path = ()
        parts = self._key()
        for part, offset in parts[:-1]:
            path = (*path, part)
            self._note(path, offset)
            if path in self.tables:
                path = (*path, self.tables[path])
        part, offset = parts[-1]
        path = (*path, part)
        self._note(path, offset)
        if is_array:
            index = self.tables.get(path, -1) + 1
            self.tables[path] = index
            path = (*path, index)
            self._note(path, offset)
        self._expect("]]" if is_array else "]")
        return path

    def _pair(self, prefix: Path) -> None:
        path = prefix
        for part, offset in self._key():
            path = (*path, part)
            self._note(path, offset)
        self._expect("=")
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: Path) -> None:
        if self._take("["):
            self._array(path)
        elif self._take("{"):
            self._inline_table(path)
        elif self.text[self.at : self.at + 1] in ('"', "'"):
            self._string()
        else:
            found = _OTHER_VALUE.match(self.text, self.at)
            if not found:
                raise _SurprisedError
            self.at = found.end()

    def _array(self, path: Path) -> None:
        index = 0
        self._skip(_SPACE_LINES_COMMENTS)
        while not self._take("]"):
            self._note((*path, index), self.at)
            self._value((*path, index))
            index += 1
            self._skip(_SPACE_LINES_COMMENTS)
            if not self._take(","):
                self._expect("]")
                return
            self._skip(_SPACE_LINES_COMMENTS)

    def _inline_table(self, path: Path) -> None:
        # TOML 1.1 allows lines and comments here; skipping them harms no 1.0.
        self._skip(_SPACE_LINES_COMMENTS)
        while not self._take("}"):
            self._pair(path)
            self._skip(_SPACE_LINES_COMMENTS)
            if not self._take(","):
                self._expect("}")
                return
            self._skip(_SPACE_LINES_COMMENTS)


class Places:
    """The places of the keys of one text.

    `places[path]` gives (line, column), both 1-based, the column in characters;
    a path that is not in the text gives its nearest enclosing key, at last 1:1.
    """

    def __init__(self, text: str) -> None:
        walk = _Walk(text)
        # What was noted until a surprise still serves.
        with suppress(_SurprisedError, ValueError, RecursionError):
            walk.run()
        self._offsets = walk.offsets
        self._line_starts = [0, *(m.end() for m in re.finditer("\n", text))]

    def __contains__(self, path: Path) -> bool:
        return self._written(path) in self._offsets

    def nearest(self, path: Path) -> Path:
        """Give the path that stands in the text: `path` or what encloses it.

        As the text spells it: `address` for the first of `addresses`.
        """
        path = self._written(path)
        while path and path not in self._offsets:
            path = path[:-1]
        return path

    def __getitem__(self, path: Path) -> tuple[int, int]:
        path = self.nearest(path)
        if not path:
            return 1, 1
        offset = self._offsets[path]
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def _written(self, path: Path) -> Path:
        for index, part in enumerate(path):
            singular = _SINGULAR.get(part) if isinstance(part, str) else None
            if singular and path[: index + 1] not in self._offsets:
                spelled = (*path[:index], singular)
                if spelled in self._offsets:
                    return spelled
        return path
