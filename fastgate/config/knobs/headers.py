"""Headers and trust: what is added, and who is believed.

Runs in: every process.
"""

from fastgate.config.knob import Kind, Knob

GROUP = "headers and trust"

ROWS = (
    Knob(
        key="server_header",
        kind=Kind.TEXT,
        default="fastgate",
        help="Server of every response: a text; pass: the upstream's own;"
        " off: none at all",
        words=("pass", "off"),
    ),
    Knob(
        key="via",
        kind=Kind.SWITCH,
        default=False,
        help="add Via to requests and responses, and refuse requests whose Via"
        " shows that they were here before",
    ),
    Knob(
        key="via_name",
        kind=Kind.TEXT,
        default="auto",
        help="what Via calls this gateway, as NAME or NAME:PORT; auto: a name of"
        " its own, made of the machine's and of the listeners",
        placeholder="NAME",
        words=("auto",),
    ),
    Knob(
        key="forwarded",
        kind=Kind.SWITCH,
        default=False,
        help="send Forwarded (RFC 7239) upstream",
    ),
    Knob(
        key="x_forwarded",
        kind=Kind.SWITCH,
        default=True,
        help="send X-Forwarded-For, -Proto and -Host upstream",
    ),
    Knob(
        key="request_id",
        kind=Kind.SWITCH,
        default=True,
        help="send X-Request-ID upstream, made unless the client sent one",
    ),
    Knob(
        key="trusted_proxies",
        kind=Kind.NETWORKS,
        default="",
        help="peers whose forwarding headers are believed and appended to; unix:"
        " those who connect to a Unix socket",
        words=("unix",),
        aliases=("--forwarded-allow-ips",),
    ),
    Knob(
        key="underscores",
        kind=Kind.CHOICE,
        default="safe",
        help="request fields with _ in their names; safe: dropped when an origin"
        " could take them for one that the gateway sets or protects",
        choices=("safe", "drop", "pass"),
    ),
    Knob(
        key="ambiguous_paths",
        kind=Kind.CHOICE,
        default="routes",
        help="paths that can be read in several ways (%2F, %5C, ;, //, .. and the"
        " like): routes forwards those whose readings all take the same route,"
        " reject none, keep all",
        choices=("routes", "reject", "keep"),
        scopes=("route",),
    ),
)
