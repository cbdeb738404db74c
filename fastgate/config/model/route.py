"""[[routes]]: which requests go where, and what is changed on the way.

Runs in: every process (imported only where configuration is read).
"""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from fastgate.config.bounds import HEADER_RULES
from fastgate.config.checks import (
    Fault,
    check_header_name,
    check_header_table,
    check_upstream_host,
    fault,
    raise_all,
)
from fastgate.config.match import check_path, check_route_host
from fastgate.config.model.answers import ErrorPages, Redirect, Respond
from fastgate.config.model.settings import Name, Settings, knob
from fastgate.config.units import show


class Match(Settings):
    """Which requests a route takes; every key given must agree."""

    host: Annotated[str, AfterValidator(check_route_host)] | None = Field(
        default=None, description='exact, or "*.example.com" (default: any)'
    )
    path: Annotated[str, AfterValidator(check_path)] | None = Field(
        default=None, description="the whole path (default: any)"
    )
    path_prefix: Annotated[str, AfterValidator(check_path)] | None = Field(
        default=None, description="the beginning of the path (default: any)"
    )

    @field_validator("path_prefix")
    @classmethod
    def _is_alone(cls, prefix: str | None, info: ValidationInfo) -> str | None:
        path = info.data.get("path")
        if prefix is not None and path is not None:
            raise fault(f"contradicts path = {show(path)}: give one of the two")
        return prefix


_HeaderTable = Annotated[dict[str, str], BeforeValidator(check_header_table)]
_HeaderName = Annotated[
    str, BeforeValidator(check_header_name), WithJsonSchema({"type": "string"})
]


class HeaderRules(Settings):
    """Changes to a head: `remove` first, then `set` (replaces), then `add`."""

    # `set` in the class body would shadow the type for later annotations, so
    # it stands after them.
    add: _HeaderTable = Field(default={}, description="fields added beside others")
    remove: tuple[_HeaderName, ...] = Field(
        default=(), description="names of fields taken out"
    )
    set: _HeaderTable = Field(
        default={}, description="fields that replace any of that name"
    )

    @field_validator("set")
    @classmethod
    def _is_one_rule(
        cls, table: dict[str, str], info: ValidationInfo
    ) -> dict[str, str]:
        removed = {name.lower() for name in info.data.get("remove", ())}
        added = {name.lower() for name in info.data.get("add", ())}
        found: list[Fault] = []
        for name in table:
            if name.lower() in removed:
                text = f"{show(name)} is in remove as well: set already replaces"
                found.append(Fault(name, text))
            if name.lower() in added:
                text = f"{show(name)} is in add as well: give one of the two"
                found.append(Fault(name, text))
        raise_all(found)
        return table

    @model_validator(mode="after")
    def _has_room(self) -> "HeaderRules":
        rules = len(self.remove) + len(self.set) + len(self.add)
        if rules > HEADER_RULES:
            raise fault(f"{rules} rules are more than {HEADER_RULES}")
        return self


# What an answer of a status has, and RFC 9110's section that says so. Location is
# but advised there, and without it the answer leads nowhere.
_NEEDED = {
    **dict.fromkeys((301, 302, 303, 307, 308), ("Location", "15.4", "use redirect")),
    401: ("WWW-Authenticate", "15.5.2", "set it in response_headers"),
    405: ("Allow", "15.5.6", "set it in response_headers"),
    407: ("Proxy-Authenticate", "15.5.8", "set it in response_headers"),
}

# What only a request that is passed on has.
_ONLY_UPSTREAM = ("host", "request_headers", "deadline")


class Route(Settings):
    """Requests that match go to an upstream, or are answered here."""

    name: Name = Field(description="its name in logs and metrics")
    match: Match = Field(
        default=Match.model_construct(), description="which requests (default: all)"
    )
    upstream: str | None = Field(
        default=None,
        description="name of the upstream they go to. **One of upstream, respond and"
        " redirect is required.**",
    )
    respond: Respond | None = Field(
        default=None, description="what they are answered, without an upstream"
    )
    redirect: Redirect | None = Field(
        default=None, description="where they are sent, without an upstream"
    )
    host: Annotated[str, AfterValidator(check_upstream_host)] = Field(
        default="keep",
        description="Host sent upstream: keep (the client's), upstream (the address"
        " of its first endpoint) or a literal (default: keep)",
    )
    request_headers: HeaderRules = Field(
        default=HeaderRules.model_construct(),
        description="changes to the request's head",
    )
    response_headers: HeaderRules = Field(
        default=HeaderRules.model_construct(),
        description="changes to the response's head",
    )

    error_pages: ErrorPages = Field(
        default={}, description="as error_pages of [gateway], and before them"
    )

    max_body: int | None = knob("max_body", overrides=True)
    deadline: int | None = knob("deadline", overrides=True)
    ambiguous_paths: Literal["routes", "reject", "keep"] | None = knob(
        "ambiguous_paths", overrides=True
    )

    @model_validator(mode="after")
    def _goes_one_way(self) -> "Route":
        ways = [
            key
            for key in ("upstream", "respond", "redirect")
            if getattr(self, key) is not None
        ]
        if not ways:
            raise fault("leads nowhere: it needs upstream, respond or redirect")
        found = [
            Fault(key, f"contradicts {ways[0]}: give one of the two")
            for key in ways[1:]
        ]
        if "upstream" not in ways:
            found.extend(
                Fault(key, f"means nothing with {ways[0]}, only with upstream")
                for key in _ONLY_UPSTREAM
                if key in self.model_fields_set
            )
        found.extend(self._missing())
        raise_all(found)
        return self

    def _missing(self) -> list[Fault]:
        if self.respond is None or self.respond.status not in _NEEDED:
            return []
        field, section, hint = _NEEDED[self.respond.status]
        rules = self.response_headers
        if field.lower() in map(str.lower, (*rules.set, *rules.add)):
            return []
        text = (
            f"status {self.respond.status} needs {field} (RFC 9110 {section}): {hint}"
        )
        return [Fault("respond", text)]
