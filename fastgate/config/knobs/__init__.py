"""The knobs: every scalar setting, once, a file a feature.

Runs in: every process.

A row is a TOML key of [gateway], the flag of the same name with dashes, the
variable FASTGATE_KEY, a line of the help and of `docs/configuration.md`, and a
field of `model.Gateway`, which takes its default, range and description from
here. Rows import no model, so that `--help` costs no pydantic.

Defaults lean to safety (THREATS: slow clients, smuggling) and to the values
that users of nginx, HAProxy and Envoy would otherwise set by hand.
"""

from fastgate.config.knob import Knob
from fastgate.config.knobs import (
    client,
    connections,
    headers,
    logs,
    processes,
    upstream,
)

# The one list of features, in the order of the help, the documentation and the
# fields of `model.Gateway`. A row is of the group of its file.
FEATURES = (processes, connections, client, upstream, logs, headers)

GROUPS = tuple(feature.GROUP for feature in FEATURES)

KNOBS: dict[str, Knob] = {
    row.key: row._replace(group=feature.GROUP)
    for feature in FEATURES
    for row in feature.ROWS
}
