"""Gateways, origins and clients of one test, ended in the right order."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

from support.client import Client
from support.fault_proxy import FaultProxy
from support.gateway import Gateway
from support.origin import Origin, Script

UPSTREAM_DEFAULTS: dict[str, Any] = {}
GATEWAY_DEFAULTS: dict[str, Any] = {"workers": 1, "drain": "5s"}


class Rig:
    """Makes the parts of a test, and `close` holds all of them to account."""

    def __init__(self) -> None:
        self.origins: list[Origin] = []
        self.proxies: list[FaultProxy] = []
        self.gateways: list[Gateway] = []
        self.clients: list[Client] = []
        self.forgives_violations = False
        self.directory = tempfile.mkdtemp(prefix="fg-")

    def origin(self, script: Script | None = None, **kwargs: Any) -> Origin:
        kwargs.setdefault("name", f"origin-{len(self.origins)}")
        origin = Origin(script, **kwargs)
        self.origins.append(origin)
        return origin

    def fault_proxy(self, origin: Origin) -> FaultProxy:
        proxy = FaultProxy(origin.address)
        self.proxies.append(proxy)
        return proxy

    def client(self, gateway: Gateway | str, **kwargs: Any) -> Client:
        address = gateway if isinstance(gateway, str) else gateway.address
        client = Client(address, **kwargs)
        self.clients.append(client)
        return client

    def gateway(
        self,
        *endpoints: Any,
        listen: str | Sequence[str] = "127.0.0.1:0",
        upstream: dict[str, Any] | None = None,
        route: dict[str, Any] | None = None,
        upstreams: dict[str, Any] | None = None,
        routes: list[dict[str, Any]] | None = None,
        listeners: dict[str, Any] | None = None,
        flags: Sequence[str] = (),
        env: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        site: str | None = None,
        ready: bool = True,
        **settings: Any,
    ) -> Gateway:
        """A running gateway with one listener, upstream and route, all named `main`.

        endpoints  origins, fault proxies, addresses or {address, weight} tables
        upstream   further keys of the upstream, say balance
        route      further keys of the route, say match
        settings   keys of [gateway]
        upstreams, routes, listeners   whole sections in place of those
        """
        addresses = [getattr(one, "address", one) for one in endpoints]
        listen = [listen] if isinstance(listen, str) else list(listen)
        config = {
            "gateway": GATEWAY_DEFAULTS | settings,
            "listeners": listeners or {"main": {"addresses": listen}},
            "upstreams": upstreams
            or {"main": {"endpoints": addresses} | (upstream or {})},
            "routes": routes or [{"name": "main", "upstream": "main"} | (route or {})],
        }
        gateway = Gateway(config, flags, env=env, prefix=prefix, site=site)
        self.gateways.append(gateway)
        return gateway.wait_ready() if ready else gateway

    def gateway_by_flags(self, *flags: str, **kwargs: Any) -> Gateway:
        """A running gateway without a configuration file."""
        gateway = Gateway(None, flags, **kwargs)
        self.gateways.append(gateway)
        return gateway.wait_ready()

    def check_quiet(self) -> None:
        """What must hold after every test, with everything still running."""
        self.close_clients()
        for gateway in self.gateways:
            gateway.check_quiet()
        self.check_origins()

    def check_origins(self) -> None:
        for origin in self.origins:
            seen = list(origin.violations)
            origin.violations.clear()
            assert not seen or self.forgives_violations, (origin.name, seen)

    def close_clients(self) -> None:
        """End every client by RST: FIN alone would ask for answers still owed."""
        while self.clients:
            self.clients.pop().reset()

    def close(self) -> None:
        """End clients, then gateways' quiet check, then origins, then leaks."""
        try:
            self.check_quiet()
        finally:
            with contextlib.ExitStack() as stack:
                stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
                for gateway in self.gateways:
                    stack.callback(gateway.destroy)
                for gateway in self.gateways:
                    stack.callback(gateway.check_leaves_nothing)
                for proxy in self.proxies:
                    stack.callback(proxy.close)
                for origin in self.origins:
                    stack.callback(origin.close)
