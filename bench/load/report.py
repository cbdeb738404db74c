"""From rounds to figures: medians, ratios, bars, the table and the plot.

Runs in: none; a tool of the bench. Pure but for `plot`, which writes a PNG.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is measured: a scenario at a number of connections and workers."""

    scenario: str
    connections: int
    workers: int

    @property
    def title(self) -> str:
        return f"{self.scenario} c{self.connections} w{self.workers}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One run of the load against one peer. A complaint makes it invalid.

    `busy_percent` is CPU time by wall time, so 100 is one core; user and system
    come from the tick clock, `cpu_us` from the nanosecond clock.
    """

    cpu_us: float
    user_us: float
    system_us: float
    requests_per_s: float
    p50_us: float
    p99_us: float
    busy_percent: float
    complaint: str = ""


@dataclass(slots=True, kw_only=True)
class Measured:
    """All rounds of one peer in one case; `absent` says why there are none."""

    case: Case
    peer: str
    rounds: list[Round] = field(default_factory=list)
    pss_bytes: int = 0
    absent: str = ""

    @property
    def valid(self) -> list[Round]:
        return [r for r in self.rounds if not r.complaint]

    @property
    def complaints(self) -> str:
        return "; ".join(dict.fromkeys(r.complaint for r in self.rounds if r.complaint))

    def median(self, figure: str) -> float | None:
        """Give the median of one figure over the valid rounds, None without any."""
        return median(getattr(r, figure) for r in self.valid) if self.valid else None

    def spread_percent(self) -> float:
        """Give (dearest - cheapest) / median of CPU per request, in percent."""
        costs = [r.cpu_us for r in self.valid]
        return 100 * (max(costs) - min(costs)) / median(costs) if costs else 0.0


Results = dict[Case, dict[str, Measured]]


def ratio(results: Results, case: Case, peer: str, other: str) -> float | None:
    """Give how many times the CPU of `other` a request costs `peer`.

    The median over rounds of the ratio within a round: the machine's drift from one
    round to the next cancels out. None when no round is valid for both.
    """
    mine, theirs = results[case].get(peer), results[case].get(other)
    if mine is None or theirs is None:
        return None
    pairs = zip(mine.rounds, theirs.rounds, strict=False)
    both = [a.cpu_us / b.cpu_us for a, b in pairs if not (a.complaint or b.complaint)]
    return median(both) if both else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What fastgate has promised: at most `limit` times the CPU of `other`."""

    case: Case
    other: str
    limit: float
    promise: str

    def verdict(self, results: Results) -> tuple[str, float | None]:
        """Give "kept", "missed" or "not measured", and the ratio it rests on."""
        if self.case not in results:
            return "not measured", None
        found = ratio(results, self.case, "fastgate", self.other)
        if found is None:
            return "not measured", None
        return ("kept" if found <= self.limit else "missed"), found


def _case(scenario: str) -> Case:
    return Case(scenario=scenario, connections=64, workers=1)


BARS = (
    Bar(
        case=_case("browser"),
        other="nginx",
        limit=1 / 1.4,
        promise="browser-like GET: at least 1.4x cheaper than nginx",
    ),
    Bar(
        case=_case("browser"),
        other="haproxy",
        limit=1 / 1.3,
        promise="browser-like GET: at least 1.3x cheaper than HAProxy",
    ),
    Bar(
        case=_case("browser"),
        other="floor",
        limit=1.15,
        promise="browser-like GET: at most 1.15x the floor",
    ),
    Bar(
        case=_case("body1m"),
        other="nginx",
        limit=1.0,
        promise="1 MiB body: no dearer than nginx",
    ),
    Bar(
        case=_case("newconn"),
        other="nginx",
        limit=1.0,
        promise="new connection per request: no dearer than nginx",
    ),
)


def bars_text(results: Results) -> tuple[str, bool]:
    """Give a line per bar, and whether every bar was measured and kept.

    Bars of cases that were not asked for are left out; with none left the answer is
    False, for nothing was shown.
    """
    lines, verdicts = [], []
    for bar in BARS:
        if bar.case not in results:
            continue
        verdict, found = bar.verdict(results)
        verdicts.append(verdict)
        figure = "" if found is None else f" ({found:.2f}, limit {bar.limit:.2f})"
        lines.append(f"{verdict:>12}  {bar.promise}{figure}")
    kept = bool(verdicts) and all(verdict == "kept" for verdict in verdicts)
    return "\n".join(lines), kept


_OTHERS = ("nginx", "haproxy", "floor")
_HEADINGS = (
    "case", "peer", "CPU us/req", "+-%", "user", "sys", "/nginx", "/haproxy", "/floor",
    "req/s", "p50 ms", "p99 ms", "busy %", "MiB", "rounds", "",
)  # fmt: skip
_LEFT = {"case", "peer", ""}


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _row(results: Results, measured: Measured) -> list[str]:
    case, peer = measured.case, measured.peer
    if measured.absent:
        figures = ["-"] * 12
        return [case.title, peer, *figures, "0", f"absent: {measured.absent}"]
    p50_us, p99_us = measured.median("p50_us"), measured.median("p99_us")
    return [
        case.title,
        peer,
        _figure(measured.median("cpu_us"), 1),
        _figure(measured.spread_percent() / 2, 0),
        _figure(measured.median("user_us"), 1),
        _figure(measured.median("system_us"), 1),
        *(_figure(ratio(results, case, peer, o), 2) for o in _OTHERS),
        _figure(measured.median("requests_per_s"), 0),
        _figure(p50_us and p50_us / 1e3, 2),
        _figure(p99_us and p99_us / 1e3, 2),
        _figure(measured.median("busy_percent"), 0),
        _figure(measured.pss_bytes / 2**20, 1),
        f"{len(measured.valid)}/{len(measured.rounds)}",
        measured.complaints,
    ]


def aligned(rows: list[list[str]], headings: tuple[str, ...]) -> str:
    """Lay out a plain text table: words to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = []
    for row in (headings, *rows):
        cells = [
            cell.ljust(width) if heading in _LEFT else cell.rjust(width)
            for cell, width, heading in zip(row, widths, headings, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def table(results: Results) -> str:
    """Give one row per peer per case, an empty line between cases."""
    rows = [
        _row(results, measured)
        for peers in results.values()
        for measured in peers.values()
    ]
    head, *lines = aligned(rows, _HEADINGS).splitlines()
    text, before = [head], ""
    for line, row in zip(lines, rows, strict=True):
        if row[0] != before:
            text.append("")
        text.append(line)
        before = row[0]
    return "\n".join(text)


def as_json(results: Results, machine: dict[str, Any]) -> dict[str, Any]:
    """Give everything that was measured, raw rounds included."""
    return {
        "machine": machine,
        "results": [
            {
                **asdict(measured.case),
                "peer": measured.peer,
                "absent": measured.absent,
                "cpu_us": measured.median("cpu_us"),
                "ratios": {
                    other: ratio(results, case, measured.peer, other)
                    for other in _OTHERS
                },
                "pss_bytes": measured.pss_bytes,
                "rounds": [asdict(one) for one in measured.rounds],
            }
            for case, peers in results.items()
            for measured in peers.values()
        ],
        "bars": [
            {
                "promise": bar.promise,
                "limit": bar.limit,
                "verdict": bar.verdict(results)[0],
                "ratio": bar.verdict(results)[1],
            }
            for bar in BARS
        ],
    }


_COLOURS = {
    "nginx": "#5b8c5a",
    "haproxy": "#5a7ca8",
    "floor": "#b5b5b5",
    "fastgate": "#d1603d",
}


def plot(results: Results, path: Path, title: str) -> None:
    """Draw CPU per request, a panel per case, each bar labelled with its ratio.

    A panel has its own scale: a 1 MiB body costs fifty times a bare GET.
    Raises ImportError when matplotlib is not installed.
    """
    import matplotlib as mpl  # noqa: PLC0415  only this function needs it

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    columns = min(5, len(results))
    lines = -(-len(results) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(3.1 * columns, 3.3 * lines), squeeze=False
    )
    panels = axes.ravel().tolist()
    for panel, (case, peers) in zip(panels, results.items(), strict=False):
        shown = {n: m.median("cpu_us") for n, m in peers.items() if m.valid}
        costs = [cost for cost in shown.values() if cost is not None]
        bars = panel.bar(
            list(shown), costs, color=[_COLOURS[n] for n in shown], width=0.72
        )
        labels = []
        for name, cost in zip(shown, costs, strict=True):
            of_nginx = ratio(results, case, name, "nginx")
            relative = "" if of_nginx is None else f"\n{of_nginx:.2f}x"
            labels.append(f"{cost:.1f}{relative}")
        panel.bar_label(bars, labels=labels, padding=2, fontsize=9)
        panel.set_title(_panel_title(case), fontsize=10)
        panel.set_ylim(0, 1.25 * max(costs, default=1))
        panel.tick_params(axis="x", labelsize=9)
        panel.tick_params(axis="y", labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(results) :]:
        panel.set_visible(False)
    for line in axes:
        line[0].set_ylabel("CPU per request, us", fontsize=9)
    figure.suptitle(f"{title}\nsecond figure: times nginx's; less is better")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel_title(case: Case) -> str:
    connections = "connection" if case.connections == 1 else "connections"
    workers = "worker" if case.workers == 1 else "workers"
    return (
        f"{case.scenario}\n{case.connections} {connections}, {case.workers} {workers}"
    )
