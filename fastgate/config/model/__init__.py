"""The configuration as frozen models: a file a table, and what holds between them.

Runs in: every process (imported only where configuration is read).

Constructors take what a TOML file takes, so `Gateway(keepalive="75s")` and
`Gateway(keepalive=75)` are the same; attributes hold parsed values: durations
are **milliseconds**, sizes **bytes**, rates bytes per second, percentages
whole percents. `load.load` builds a Config and turns every fault in it into a
`Problem` with its place; a Config built directly raises pydantic's
ValidationError. Either way it cannot exist wrong.

Scalar settings take default, range and description from `knobs.KNOBS`. Inside
this folder a module imports only from those named before it: settings, the
tables, `across`, `config`.
"""

from fastgate.config.model.across import (
    Finding,
    RouteView,
    cross_check,
    warnings,
)
from fastgate.config.model.answers import Redirect, Respond
from fastgate.config.model.config import Config
from fastgate.config.model.gateway import Gateway
from fastgate.config.model.health import Health
from fastgate.config.model.listener import Listener
from fastgate.config.model.retry import Retry
from fastgate.config.model.route import HeaderRules, Match, Route
from fastgate.config.model.upstream import Endpoint, Upstream

__all__ = [
    "Config",
    "Endpoint",
    "Finding",
    "Gateway",
    "HeaderRules",
    "Health",
    "Listener",
    "Match",
    "Redirect",
    "Respond",
    "Retry",
    "Route",
    "RouteView",
    "Upstream",
    "cross_check",
    "warnings",
]
