"""[gateway]: settings of the whole program, defaults of upstreams and routes.

Runs in: every process (imported only where configuration is read).
"""

from pydantic import Field

from fastgate.config.model.answers import ErrorPages
from fastgate.config.model.client import ClientSide
from fastgate.config.model.connections import Connections
from fastgate.config.model.headers import Headers
from fastgate.config.model.logs import Logs
from fastgate.config.model.processes import Processes
from fastgate.config.model.upstream import UpstreamSide


# pydantic puts the fields of the last base first: read from below, the features
# stand here as in `knobs.FEATURES`.
class Gateway(
    Headers,
    Logs,
    UpstreamSide,
    ClientSide,
    Connections,
    Processes,
):
    """Settings of the whole program, and the defaults of upstreams and routes."""

    error_pages: ErrorPages = Field(
        default={},
        description="files sent for answers that the gateway itself makes, by"
        " status: 502, or all of 4xx or 5xx; at most 64k each, read at the start."
        " Also in routes, whose own go before (default: none)",
    )
