"""`docs/configuration.md` and the JSON Schema, made from the model.

Runs in: the command line, for whoever changes the model:

    python -m fastgate.config.document > docs/configuration.md
    python -m fastgate.config.document --schema > fastgate.schema.json
"""

import json
import sys
from collections.abc import Container, Iterator, Sequence

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from fastgate.config.knob import Knob
from fastgate.config.knobs import GROUPS, KNOBS
from fastgate.config.model import (
    Config,
    Endpoint,
    Gateway,
    HeaderRules,
    Health,
    Listener,
    Match,
    Redirect,
    Respond,
    Retry,
    Route,
    Upstream,
)
from fastgate.config.peers import PEERS
from fastgate.config.quick import QUICK

INTRODUCTION = """\
# Configuration

<!-- Made by `python -m fastgate.config.document`; a test holds it to the model. -->

Every scalar setting is a key of `[gateway]`, a flag and a variable, with the same
value in each. A flag goes before a variable, a variable before the file, the file
before the default. `fastgate run --print-config` prints what came out, as a file,
and where each value came from. `fastgate check -c FILE` tests a file and reports
every fault in it as `FILE:LINE:COLUMN: message`.

| value | is written | a bare number is |
|---|---|---|
| DURATION | `250ms` `30s` `5m` `1h` `1m30s` | seconds |
| SIZE | `8k` `16m` `1g` (powers of 1024) | bytes |
| RATE | `240B/s` `1k/s` | bytes per second |
| PERCENT | `20%` | percent |
| on\\|off | `true` `false`, `"on"` `"off"` | |

An empty variable counts as not set. `FASTGATE_CONFIG` names the file where `-c`
does not; `FASTGATE_TRACEBACK=1` shows the traceback of an internal error.

Exit codes: 0 good, 1 bad configuration, 2 bad usage, 3 could not start.
Beside each default stands what nginx 1.28 and HAProxy 3.0 do when nothing is said;
[defaults.md](defaults.md) tells where that may surprise.

Which route a request takes, and what becomes of its path: [routing.md](routing.md).

## Without a file

```
fastgate run --listen 127.0.0.1:8080 --upstream 127.0.0.1:9001,127.0.0.1:9002
```

These flags make one listener, one upstream and one route, each named `main`; with
a file they set that listener and that upstream in it.
"""

EXAMPLE = """\
## A file

```toml
[gateway]
workers = "auto"
admin_socket = "/run/fastgate/admin.sock"
access_log = "/var/log/fastgate/access.log"

[listeners.web]
addresses = ["0.0.0.0:8080", "[::]:8080"]

[upstreams.users]
balance = "least-connections"
endpoints = ["10.0.0.1:9000", { address = "10.0.0.2:9000", weight = 3 }]
connect_timeout = "500ms"

[upstreams.assets]
balance = "hash"
hash_key = "path"
endpoints = ["unix:/run/assets.sock"]

[[routes]]
name = "users"
match = { host = "api.example.com", path_prefix = "/v2/users" }
upstream = "users"
deadline = "5s"
response_headers = { remove = ["X-Powered-By"], set = { "X-Frame-Options" = "DENY" } }

[[routes]]
name = "assets"
match = { host = "*.example.com" }
upstream = "assets"
```
"""

TABLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("[listeners.NAME]", Listener),
    ("[upstreams.NAME]", Upstream),
    ("endpoints of an upstream", Endpoint),
    ("retry of an upstream", Retry),
    ("health of an upstream", Health),
    ("[[routes]]", Route),
    ("match of a route", Match),
    ("respond of a route", Respond),
    ("redirect of a route", Redirect),
    ("request_headers and response_headers of a route", HeaderRules),
)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _knob_row(knob: Knob) -> str:
    scopes = " ".join(f"Also in {scope}s." for scope in knob.scopes)
    notes = [knob.help + ".", f"{knob.range_text}." if knob.range_text else "", scopes]
    flags = ", ".join(f"`{flag}`" for flag in (knob.flag, *knob.aliases))
    cells = (
        f"`{knob.key}`",
        f"{flags}<br>`{knob.variable}`",
        knob.metavar,
        f"`{knob.default_text}`" if knob.default_text != "none" else "none",
        *PEERS.get(knob.key, ("", "")),
        " ".join(note for note in notes if note),
    )
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _lines() -> Iterator[str]:
    yield INTRODUCTION
    yield "| flag | variable | |"
    yield "|---|---|---|"
    for quick in QUICK.values():
        text = _cell(quick.help)
        yield f"| `{quick.flag} {quick.metavar}` | `{quick.variable}` | {text} |"
    yield ""
    yield EXAMPLE
    yield "## [gateway]"
    for group in GROUPS:
        yield f"\n### {group[0].upper()}{group[1:]}\n"
        yield "| key | flag, variable | value | default | nginx | HAProxy | |"
        yield "|---|---|---|---|---|---|---|"
        yield from (_knob_row(k) for k in KNOBS.values() if k.group == group)
    yield "\n### tables\n"
    yield from _fields(Gateway, but=KNOBS)
    for title, model in TABLES:
        yield f"\n## {title}\n"
        yield from _fields(model)


def _fields(model: type[BaseModel], but: Container[str] = ()) -> Iterator[str]:
    yield "| key | |"
    yield "|---|---|"
    for key, field in model.model_fields.items():
        if key in but:
            continue
        needed = field.default is PydanticUndefined and not field.default_factory
        text = _cell(field.description or "")
        yield f"| `{key}` | {text}{' **Required.**' if needed else ''} |"


def markdown() -> str:
    """Give the text of `docs/configuration.md`."""
    return "\n".join(_lines()) + "\n"


def schema() -> str:
    """Give the JSON Schema (draft 2020-12) of a configuration file."""
    made = Config.model_json_schema()
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "fastgate"
    # What the validators take beside the fields themselves.
    listener = made["$defs"]["Listener"]
    listener["properties"]["address"] = {
        "type": "string",
        "description": "a single address, in place of addresses",
    }
    listener.pop("required", None)
    upstream = made["$defs"]["Upstream"]["properties"]
    upstream["endpoints"]["items"] = {
        "anyOf": [{"$ref": "#/$defs/Endpoint"}, {"type": "string"}]
    }
    return json.dumps(made, indent=2, sort_keys=True) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Print the page, or with `--schema` the schema."""
    sys.stdout.write(schema() if "--schema" in arguments else markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
