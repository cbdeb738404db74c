"""A whole configuration.

Runs in: every process (imported only where configuration is read).
"""

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from fastgate.config.model.across import RouteView, cross_check
from fastgate.config.model.gateway import Gateway
from fastgate.config.model.listener import Listener
from fastgate.config.model.route import Route
from fastgate.config.model.settings import Name, Settings
from fastgate.config.model.upstream import Upstream


class Config(Settings):
    """A whole configuration, checked in itself and across its tables."""

    gateway: Gateway = Field(
        default={}, validate_default=True, description="see [gateway]"
    )
    listeners: dict[Name, Listener] = Field(
        default={}, description="[listeners.NAME]: where clients connect"
    )
    upstreams: dict[Name, Upstream] = Field(
        default={}, description="[upstreams.NAME]: where requests go"
    )
    routes: tuple[Route, ...] = Field(
        default=(), description="[[routes]]: which requests go where"
    )

    @property
    def views(self) -> list[RouteView]:
        """What of each route the checks between tables read."""
        return [
            RouteView(*(getattr(route, key) for key in RouteView._fields))
            for route in self.routes
        ]

    @model_validator(mode="after")
    def _check_across(self) -> "Config":
        findings = list(
            cross_check(self.gateway, self.listeners, self.upstreams, self.views)
        )
        if findings:
            text = "; ".join(finding.message for finding in findings)
            raise PydanticCustomError("fastgate_across", "{text}", {"text": text})
        return self
