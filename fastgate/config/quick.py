"""The quick start: flags that make a whole configuration without a file.

Runs in: every process.

`--listen` and `--upstream` build one listener, one upstream and one route, each
named "main"; with a file they set that listener and that upstream in it.
"""

from typing import NamedTuple

from fastgate.config.knobs.upstream import BALANCES
from fastgate.config.units import either

QUICK_NAME = "main"


class Quick(NamedTuple):
    """One flag of the quick start: `target` in [`table`.main]."""

    key: str
    table: str
    target: str
    is_list: bool
    metavar: str
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        return "FASTGATE_" + self.key.upper()


QUICK: dict[str, Quick] = {
    quick.key: quick
    for quick in (
        Quick(
            key="listen",
            table="listeners",
            target="addresses",
            is_list=True,
            metavar="ADDRESS",
            help="address to listen on: host:port, :port, [v6]:port or unix:/path;"
            " again or comma-separated for several",
        ),
        Quick(
            key="upstream",
            table="upstreams",
            target="endpoints",
            is_list=True,
            metavar="ADDRESS[;weight=N]",
            help="endpoint to forward to; again or comma-separated for several",
        ),
        Quick(
            key="balance",
            table="upstreams",
            target="balance",
            is_list=False,
            metavar="NAME",
            help=either(BALANCES),
        ),
        Quick(
            key="hash_key",
            table="upstreams",
            target="hash_key",
            is_list=False,
            metavar="KEY",
            help="what --balance hash hashes: client, path, header:NAME or cookie:NAME",
        ),
    )
}
