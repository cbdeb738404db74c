"""Hold the sources to the plan of the house: who may import whom, and the rest.

Runs in: no process of the gateway; ci/test and tests/test_house.py call it.

Usage: python ci/check_house.py [ROOT]

Every violation is one line `path:line: message` on stdout; exit 1 if there is
one, 0 if there is none, 2 if ROOT is no checkout. Nothing is imported or run: Python
is read with `ast`, Cython as text whose comments and strings have been blanked.

The rules:

arrows     cli -> control -> {config, policies, filters, _core} -> errors, and
           _core -> dataplane; nothing but cli imports control
door       Python outside dataplane/ imports no compiled module but _core
floors     a room of dataplane/ may cimport only rooms before its own in setup.py's
           FLOORS, and of those the ones whose folder its own floor names
pairs      each .pyx has its .pxd, each room of dataplane/ its place in FLOORS
circles    no two modules of a room import each other, be it for their types alone
           or by way of others: a reader could begin with neither
old words  no `include`, `DEF` or `IF` in Cython
locks      no multiprocessing: a killed holder keeps its lock or queue for ever
runs in    each module says in which processes it runs
terms      one word for one thing (docs/glossary.md), in names, comments and
           docstrings; other people's words in string literals are not ours to change
budget     no file past twice its expected length

A line that must name a foreign thing by its own name says so at its end:
`# house: allow backend` switches `terms` off for that word on that line.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

PACKAGE = "fastgate"
DATAPLANE = f"{PACKAGE}.dataplane"

# Which rooms a room may import; its own modules always. `root` is
# fastgate/__init__.py, which holds the version and imports nothing.
MIDDLE = {"config", "policies", "filters", "_core"}
ARROWS: dict[str, set[str]] = {
    "root": set(),
    "errors": {"root"},
    "dataplane": {"root"},
    "_core": {"root", "errors", "dataplane"},
    "config": {"root", "errors"},
    "policies": {"root", "errors"},
    "filters": {"root", "errors"},
    "control": {"root", "errors", *MIDDLE},
    "cli": {"root", "errors", "control", *MIDDLE},
    "__main__": {"root", "cli"},
}

PROCESSES = re.compile(
    r"(?:^|[.] )Runs in: (master|worker|steward|every process|the command line"
    r"|no process)\b",
    re.MULTILINE,
)

# Expected lines where the design names them; a file past twice its number is split.
EXPECTED_LINES = {
    "fastgate/cli.py": 250,
    "fastgate/errors.py": 120,
    "fastgate/_core.pyx": 300,
    "fastgate/_core.pxd": 300,
    "fastgate/_core.pyi": 300,
    "fastgate/config/load.py": 250,
    "fastgate/config/locate.py": 120,
}
OTHER_LINES = 400

# Words of the trade that mean two things, or a thing that has another name here.
# Only words that have no second, innocent use in this code stand in the list: `host`,
# `server`, `origin`, `session` and `node` are also words of HTTP, TLS and C, so
# reviewers watch those.
WRONG_WORDS = {
    "frontend": "listener",
    "backend": "endpoint (one address) or upstream (the group)",
    "middleware": "filter",
    "plugin": "filter",
    "vhost": "route",
    "healthcheck": "active check or outlier ejection",
    "slave": "worker",
    "whitelist": "allow list",
    "blacklist": "deny list",
    "msec": "_ms",
    "msecs": "_ms",
    "millis": "_ms",
    "usec": "_us",
    "usecs": "_us",
    "micros": "_us",
}
# Names that belong to the kernel, the C library or somebody else's interface.
FOREIGN_NAMES = {"tv_usec", "build_backend", "default_backend"}

SOURCES = {".py", ".pyi", ".pyx", ".pxd"}
CYTHON = {".pyx", ".pxd"}

TOKEN = re.compile(
    r"""
    (?P<prose>[rRbBuUfF]{0,2}(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}))
    | (?P<string>[rRbBuUfFcC]{0,2}(?:"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    | (?P<comment>\#[^\n]*)
    | (?P<name>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
ALLOW = re.compile(r"#\s*house: allow ([\w, ]+)")
CIMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<base>[\w.]+)[ \t]+)?cimport[ \t]+"
    r"(?P<names>\([^)]*\)|[^\n;]+)",
    re.MULTILINE,
)
IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<base>[\w.]+)[ \t]+)?import[ \t]+"
    r"(?P<names>\([^)]*\)|[^\n;]+)",
    re.MULTILINE,
)
OLD_WORDS = re.compile(
    r"^[ \t]*(?:(?P<include>include)[ \t]+[\"']"
    r"|(?P<def>DEF)[ \t]+\w"
    r"|(?P<if>IF)\b[^\n]*:)",
    re.MULTILINE,
)


@dataclass(frozen=True, order=True, slots=True)
class Violation:
    """One broken rule, printed as `path:line: message`."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Floor:
    """One row of setup.py's FLOORS: a folder, what it may see, its rooms in order."""

    folder: str
    sees: set[str]
    rooms: list[str]
    line: int

    def may_see(self, folder: str) -> bool:
        return folder == self.folder or bool(self.sees & {folder, "*"})


@dataclass
class Source:
    """One file: its path from the root, its dotted module name and its text."""

    path: str
    text: str
    code: str = field(init=False)

    def __post_init__(self) -> None:
        self.code = blank(self.text)

    @property
    def is_cython(self) -> bool:
        return Path(self.path).suffix in CYTHON

    @property
    def module(self) -> str:
        parts = list(Path(self.path).with_suffix("").parts)
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def package(self) -> str:
        if Path(self.path).stem == "__init__":
            return self.module
        return self.module.rpartition(".")[0]

    def line_at(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1

    def violation(self, line: int, message: str) -> Violation:
        return Violation(self.path, line, message)


def blank(text: str) -> str:
    """Return `text` with comments and the inside of strings as spaces.

    Line breaks stay, so that offsets and line numbers of both texts agree.
    """

    def blanked(match: re.Match[str]) -> str:
        if match["name"]:
            return match[0]
        body = re.sub(r"[^\n]", " ", match[0])
        # The quotes stay: `include "x"` must still be seen.
        return body if match["comment"] else f"'{body[1:-1]}'"

    return TOKEN.sub(blanked, text)


def room_of(module: str) -> str:
    """Name the room of a dotted module: the first part below the package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "root"


def absolute(source: Source, base: str) -> str:
    """Resolve the leading dots of an import's base in `source`."""
    name = base.lstrip(".")
    dots = len(base) - len(name)
    if not dots:
        return name
    package = source.package.split(".")
    return ".".join([*package[: len(package) - dots + 1], *([name] if name else [])])


def split_names(names: str) -> list[str]:
    """Split the names after `import`, without their `as` parts."""
    listed = names.strip("() \t\n").replace("\n", " ")
    return [name.split()[0] for name in listed.split(",") if name.strip()]


class House:
    """The sources under a root, and every rule as a method that yields violations."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sources = [
            Source(path.relative_to(root).as_posix(), path.read_text("utf-8"))
            for path in sorted((root / PACKAGE).rglob("*"))
            if path.suffix in SOURCES
        ]
        self.modules = {source.module for source in self.sources}
        self.packages = {
            s.module for s in self.sources if Path(s.path).stem == "__init__"
        }

    def violations(self) -> list[Violation]:
        """Return every violation, sorted by path and line."""
        found = [*self.floors_are_well_formed(), *self.runs_in_no_circle()]
        for source in self.sources:
            found += self.says_where_it_runs(source)
            found += self.keeps_its_terms(source)
            found += self.keeps_its_budget(source)
            if source.is_cython:
                found += self.keeps_to_its_floor(source)
                found += self.has_its_place(source)
                found += self.avoids_old_words(source)
            found += self.follows_the_arrows(source)
        for path in self.others():
            text = path.read_text("utf-8")
            name = path.relative_to(self.root).as_posix()
            found += self.keeps_its_budget(Source(name, text))
        return sorted(set(found))

    def others(self) -> Iterator[Path]:
        """Give the files beside the package that have a budget too."""
        for folder in ("ci", "bench"):
            for path in sorted((self.root / folder).rglob("*")):
                if path.suffix in {".py", ".sh"}:
                    yield path

    # -- Cython -----------------------------------------------------------------

    @cached_property
    def floors(self) -> list[Floor] | None:
        """Read FLOORS from setup.py, from the ground up.

        None if setup.py has no FLOORS that is a plain list of rows
        (folder, folders it may cimport, rooms), each of them a string.
        """
        setup = self.root / "setup.py"
        for node in ast.parse(setup.read_text("utf-8")).body:
            if not isinstance(node, ast.Assign):
                continue
            named = [t.id for t in node.targets if isinstance(t, ast.Name)]
            if "FLOORS" not in named:
                continue
            try:
                rows = ast.literal_eval(node.value)
                return [
                    Floor(folder, set(sees.split()), rooms.split(), item.lineno)
                    for (folder, sees, rooms), item in zip(
                        rows, node.value.elts, strict=True
                    )
                ]
            except (AttributeError, TypeError, ValueError):
                return None
        return None

    @cached_property
    def rungs(self) -> dict[str, tuple[int, Floor]]:
        """Number the rooms, 0 at the ground: module -> its place, and its floor."""
        rooms = [
            (f"{DATAPLANE}.{floor.folder}.{room}", floor)
            for floor in self.floors or []
            for room in floor.rooms
        ]
        # The door stands above all and may open to every room.
        rooms.append((f"{PACKAGE}._core", Floor("_core", {"*"}, ["_core"], 1)))
        return {module: (rung, floor) for rung, (module, floor) in enumerate(rooms)}

    def floors_are_well_formed(self) -> Iterator[Violation]:
        if self.floors is None:
            yield Violation("setup.py", 1, "no FLOORS = [...] of rows of three strings")
            return
        seen: set[str] = set()
        folders: set[str] = set()
        for floor in self.floors:
            for room in floor.rooms:
                module = f"{floor.folder}.{room}"
                if module in seen:
                    yield Violation(
                        "setup.py", floor.line, f"{module} stands in two places"
                    )
                seen.add(module)
            for folder in sorted(floor.sees - folders - {"*"}):
                yield Violation(
                    "setup.py",
                    floor.line,
                    f"{floor.folder} names {folder}, which is no floor below it",
                )
            folders.add(floor.folder)

    def keeps_to_its_floor(self, source: Source) -> Iterator[Violation]:
        rungs = self.rungs
        own = rungs.get(source.module)
        for match in CIMPORT.finditer(source.code):
            line = source.line_at(match.start("names"))
            for module in self.cimported(source, match):
                if module == source.module:
                    continue
                target = rungs.get(module)
                if module not in self.modules:
                    yield source.violation(line, f"cimports {module}: no such module")
                elif own is None or target is None:
                    continue  # has_its_place says it
                elif target[0] > own[0]:
                    yield source.violation(
                        line,
                        f"cimports {module}, which comes after {source.module}"
                        " in setup.py's FLOORS",
                    )
                elif not own[1].may_see(target[1].folder):
                    yield source.violation(
                        line,
                        f"cimports {module}: {own[1].folder} may not see"
                        f" {target[1].folder} (FLOORS in setup.py)",
                    )

    def cimported(self, source: Source, match: re.Match[str]) -> Iterator[str]:
        """Give the modules of ours that one cimport statement names."""
        names = split_names(match["names"])
        if match["base"] is None:
            found = names
        else:
            base = absolute(source, match["base"])
            inside = base in self.packages
            found = [f"{base}.{n}" for n in names] if inside else [base]
        for module in found:
            if module.split(".")[0] == PACKAGE:
                yield module

    def has_its_place(self, source: Source) -> Iterator[Violation]:
        if source.module not in self.rungs:
            yield source.violation(1, f"{source.module} is not in setup.py's FLOORS")
        if not source.path.endswith(".pyx"):
            return
        if not (self.root / source.path).with_suffix(".pxd").exists():
            yield source.violation(1, "has no .pxd beside it")

    def avoids_old_words(self, source: Source) -> Iterator[Violation]:
        advice = {
            "include": "`include`: cimport from a .pxd instead",
            "def": "`DEF`: use an enum or a const instead",
            "if": "`IF`: use a C macro or a plain `if` instead",
        }
        for match in OLD_WORDS.finditer(source.code):
            word = match.lastgroup or ""
            yield source.violation(source.line_at(match.start(word)), advice[word])

    # -- imports ----------------------------------------------------------------

    def follows_the_arrows(self, source: Source) -> Iterator[Violation]:
        room = room_of(source.module)
        if room not in ARROWS:
            yield source.violation(
                1, f"room '{room}' is not in the plan (ARROWS in ci/check_house.py)"
            )
            return
        for module, line in self.imported(source):
            if module.split(".")[0] == "multiprocessing":
                yield source.violation(
                    line,
                    "multiprocessing: a killed holder keeps its locks and queues;"
                    " use shared memory with leases",
                )
            if module.split(".")[0] != PACKAGE:
                continue
            target = room_of(module)
            if target == room:
                continue
            if target == "dataplane" and room != "_core":
                yield source.violation(
                    line, f"imports {module}: the one door to compiled code is _core"
                )
            elif target not in ARROWS[room]:
                yield source.violation(
                    line, f"imports {module}: {room} may not import {target}"
                )

    def runs_in_no_circle(self) -> Iterator[Violation]:
        """Take away modules that import none of what is left, until nothing changes.

        An import under TYPE_CHECKING counts. A package that lists the names of its
        modules may be imported by none of them.
        """
        left = {s.module: s for s in self.sources if s.path.endswith(".py")}
        arrows = {
            name: {
                m: n for m, n in self.imported(source) if room_of(m) == room_of(name)
            }
            for name, source in left.items()
        }
        while ends := [n for n in left if not any(m in left for m in arrows[n])]:
            for name in ends:
                del left[name]
        for name, source in left.items():
            # Those that only lead to a circle are not part of it.
            back = self.way_back(name, arrows)
            if back:
                yield source.violation(
                    arrows[name][back[0]],
                    f"imports {back[0]}, a circle: {' -> '.join([name, *back])}",
                )

    @staticmethod
    def way_back(start: str, arrows: dict[str, dict[str, int]]) -> list[str]:
        """Give the shortest way from a module to itself; empty if there is none."""
        ways = [[name] for name in arrows[start]]
        seen: set[str] = set()
        for way in ways:  # grows below: breadth first
            if way[-1] == start:
                return way
            if way[-1] not in seen:
                seen.add(way[-1])
                ways += [[*way, name] for name in arrows.get(way[-1], ())]
        return []

    def imported(self, source: Source) -> Iterator[tuple[str, int]]:
        """Give (dotted module, line) for everything `source` imports."""
        if source.is_cython:
            for match in IMPORT.finditer(source.code):
                line = source.line_at(match.start("names"))
                names = split_names(match["names"])
                for module in self.named(source, match["base"], names):
                    yield module, line
            return
        for node in ast.walk(ast.parse(source.text, source.path)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, node.lineno
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                listed = [alias.name for alias in node.names]
                for module in self.named(source, base, listed):
                    yield module, node.lineno
            elif isinstance(node, ast.Call):
                # importlib.import_module("fastgate.x") is an import as well.
                called = node.func
                name = called.attr if isinstance(called, ast.Attribute) else None
                name = called.id if isinstance(called, ast.Name) else name
                if name in {"import_module", "__import__"} and node.args:
                    argument = node.args[0]
                    if isinstance(argument, ast.Constant):
                        yield str(argument.value), node.lineno

    def named(
        self, source: Source, base: str | None, names: list[str]
    ) -> Iterator[str]:
        """Give the modules of `from base import names`, or of `import names`."""
        if base is None:
            yield from names
            return
        module = absolute(source, base)
        for name in names:
            inner = f"{module}.{name}"
            # `from fastgate import control` names a room, `... import __version__`
            # what fastgate/__init__.py holds.
            is_room = module == PACKAGE and name in ARROWS
            yield inner if is_room or inner in self.modules else module

    # -- text -------------------------------------------------------------------

    def says_where_it_runs(self, source: Source) -> Iterator[Violation]:
        if Path(source.path).suffix not in {".py", ".pyx"}:
            return
        opening = next(
            (m["prose"] for m in TOKEN.finditer(source.text) if not m["comment"]), None
        )
        body = (opening or "").lstrip("rRbBuUfF").strip("\"'")
        lines = "\n".join(line.strip() for line in body.splitlines())
        if not PROCESSES.search(lines):
            yield source.violation(
                1,
                "the module's docstring lacks"
                " `Runs in: master | worker | steward | every process`",
            )

    def keeps_its_terms(self, source: Source) -> Iterator[Violation]:
        lines = source.text.splitlines()
        for match in TOKEN.finditer(source.text):
            if match["string"] or match[0] in FOREIGN_NAMES:
                continue
            # The name itself, or each name in a comment or a docstring.
            for name in re.finditer(r"[A-Za-z_]\w*", match[0]):
                if name[0] in FOREIGN_NAMES:
                    continue
                line = source.line_at(match.start() + name.start())
                allowed = ALLOW.search(lines[line - 1])
                for word in WORD.findall(name[0]):
                    wrong = self.wrong_word(word.lower())
                    if wrong and not (allowed and wrong in allowed[1]):
                        yield source.violation(
                            line, f"'{wrong}' in {name[0]}: say {WRONG_WORDS[wrong]}"
                        )

    @staticmethod
    def wrong_word(word: str) -> str | None:
        """Return the entry of WRONG_WORDS that `word`, or its singular, is."""
        for form in (word, word.removesuffix("s")):
            if form in WRONG_WORDS:
                return form
        return None

    def keeps_its_budget(self, source: Source) -> Iterator[Violation]:
        limit = 2 * EXPECTED_LINES.get(source.path, OTHER_LINES)
        count = len(source.text.splitlines())
        if count > limit:
            yield source.violation(
                limit + 1, f"{count} lines, at most {limit}: split it"
            )


def main(arguments: list[str]) -> int:
    """Check the checkout at arguments[0], or the one this file stands in."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    if not (root / "setup.py").is_file() or not (root / PACKAGE).is_dir():
        print(f"check_house: {root} is no checkout of {PACKAGE}", file=sys.stderr)
        return 2
    violations = House(root).violations()
    for violation in violations:
        print(violation)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
