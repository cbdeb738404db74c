"""Incidents of traffic as lines of the error log.

Runs in: worker.

The engine notes them as numbers (dataplane/telemetry/incidents.pxd) and limits their
rate; here the numbers become names.
"""

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fastgate._core import Engine
    from fastgate.control.logs import Log
    from fastgate.control.plan import PlanValues

# In the order of IncidentKind.
FAILED, EJECTED, BACK, CONNECTIONS_FULL, FILES_FULL = range(5)
AMBIGUOUS_PATH, LOOP, METHOD_REFUSED = range(5, 8)
# In place of a second route (readings.pxd).
TOO_MANY_READINGS = -2


class Incident(NamedTuple):
    """What Engine.take_incidents gives; 0, -1 or None for what is not known.

    endpoint  its upstream, an index into the plan, and its address
    listener  an index into the plan
    rule_at   offset of the byte of the head that broke the rule
    request   the request line
    held      how many like it were held back before it
    route, other_route  what two readings of a path take: indexes into the plan
    """

    kind: int
    endpoint: tuple[int, str] | None
    listener: int
    reason: str
    os_error: int
    rule: str | None
    rule_at: int
    request: bytes
    held: int
    route: int
    other_route: int


class Teller:
    """Writes what the engine of a worker noted into its error log."""

    def __init__(self, values: "PlanValues", log: "Log") -> None:
        self._values = values
        self._log = log
        self._refusals = {
            AMBIGUOUS_PATH: self._ambiguity,
            LOOP: self._loop,
            METHOD_REFUSED: self._refused_method,
        }

    def tell(self, engine: "Engine", *, leaving: bool = False) -> None:
        """Write a line for each incident since the last time.

        leaving  also for those that are held back
        """
        incidents, lost = engine.take_incidents(leaving)
        for values in incidents:
            incident = Incident(*values)
            held = f" ({incident.held} more like this held back)"
            self._log.warning(self.line(incident) + (held if incident.held else ""))
        if lost:
            self._log.warning(f"{lost} incidents of traffic are not shown: too many")

    def line(self, incident: Incident) -> str:
        """Say what happened."""
        kind = incident.kind
        if kind in (CONNECTIONS_FULL, FILES_FULL):
            return f"{self._listener(incident.listener)}: {self._limit(incident)}"
        if kind in self._refusals:
            return self._refusals[kind](incident)
        place = self._endpoint(incident.endpoint)
        if kind == EJECTED:
            return f"{place} is ejected: it failed too often in a row"
        if kind == BACK:
            return f"{place} is asked again"
        details = [said(incident.os_error)] if incident.os_error else []
        if incident.rule is not None and incident.reason == "upstream-status":
            details.append(f"{incident.rule_at} {incident.rule}")
        elif incident.rule is not None:
            # A cut answer broke its rule behind the head.
            cut = incident.reason == "upstream-cut"
            where = "" if cut else f", at byte {incident.rule_at} of its head"
            details.append(incident.rule + where)
        why = f": {'; '.join(details)}" if details else ""
        request = incident.request.decode("latin-1")
        line = f' for "{request}"' if request else ""
        return f"{place} failed, {incident.reason}{why}{line}"

    def _ambiguity(self, incident: Incident) -> str:
        """Say which routes a refused path could have taken."""
        one, other = incident.route, incident.other_route
        request = incident.request.decode("latin-1")
        if other == TOO_MANY_READINGS:
            how = "there are too many ways to read it"
        elif other == one:
            how = "it can be read in several ways"
        else:
            how = f"one way to read it takes {self._route(one)}"
            how += f", another {self._route(other)}"
        return f'refused, {incident.reason}: {how}, for "{request}"'

    def _loop(self, incident: Incident) -> str:
        """Say which route sends requests round."""
        request = incident.request.decode("latin-1")
        return (
            f"refused, {incident.reason}: {self._route(incident.route)} was given a"
            f' request whose Via names this gateway (via = on), for "{request}"'
        )

    def _refused_method(self, incident: Incident) -> str:
        """Say which setting refuses what the listener was asked."""
        setting = "trace" if incident.reason == "method-trace" else "refused_methods"
        request = incident.request.decode("latin-1")
        place = self._listener(incident.listener)
        return f'{place}: refused, {incident.reason} ({setting}), for "{request}"'

    def _endpoint(self, place: tuple[int, str] | None) -> str:
        if place is None:
            return "an endpoint"
        upstream, address = place
        name = self._values.upstreams[upstream]["name"]
        return f"endpoint {address} (upstream {name})"

    def _route(self, index: int) -> str:
        if index < 0:
            return "no route"
        return f"route {self._values.routes[index]['name']}"

    def _limit(self, incident: Incident) -> str:
        """Say why not everyone who comes can be served."""
        if incident.kind == FILES_FULL:
            return f"cannot accept: {said(incident.os_error)}"
        most = self._values.gateway["max_conns"]
        return (
            f"max_conns ({most}) is reached: idle clients are closed, and where none"
            " is idle new ones turned away"
        )

    def _listener(self, index: int) -> str:
        return f"listener {self._values.listeners[index]['name']}"


def said(number: int) -> str:
    """Give the words for an errno, in lower case as the other messages."""
    text = os.strerror(number)
    return text[:1].lower() + text[1:]
