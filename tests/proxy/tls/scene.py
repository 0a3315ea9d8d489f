"""A simulated proxy that speaks TLS to clients, to endpoints, or to both."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Protocol

from hotswap.address import Address
from proxy.config.model import ClusterConfig, Config, EndpointConfig, ListenerConfig, MatchConfig, RouteConfig
from proxy.config.tls_model import CertificateConfig, ClusterTlsConfig, ListenerTlsConfig
from tests.proxy.simulation import World
from tests.proxy.tls.far import Far, client_context, server_context

if TYPE_CHECKING:
    from tests.kit.certificates import Authority, Pair
    from tests.proxy.simulation import Socket


class Build(Protocol):
    """Makes a scene, with what is said of the listener and the cluster."""

    def __call__(self, **settings: Any) -> Scene: ...


class Scene:
    """`protocol` of the one listener, "web"; TLS on either side. `listener` and `cluster` are further settings."""

    def __init__(
        self,
        authority: Authority,
        version: str = "1.3",
        *,
        moving: bool = False,
        protocol: Any = "tcp",
        downstream: bool = True,
        upstream: bool = False,
        tls: dict[str, Any] | None = None,
        listener: dict[str, Any] | None = None,
        cluster: dict[str, Any] | None = None,
        routes: tuple[RouteConfig, ...] = (RouteConfig(cluster="app"),),
    ) -> None:
        self.authority = authority
        self.version = version
        self.pair: Pair = authority.issue("edge")
        settings = {"certificates": (CertificateConfig(**self.pair.config),), **(tls or {})}
        self.config = Config(
            name="edge",
            listeners=(
                ListenerConfig(
                    name="web",
                    address=Address.parse("127.0.0.1:443"),
                    protocol=protocol,
                    routes=routes,
                    tls=ListenerTlsConfig(**settings) if downstream else None,
                    **(listener or {}),
                ),
            ),
            clusters=tuple(
                ClusterConfig(
                    name=name,
                    endpoints=(EndpointConfig(address=Address.parse(f"127.0.0.1:{port}")),),
                    tls=ClusterTlsConfig(ca=str(authority.file)) if upstream else None,
                    **({"connect_timeout": 1.0} | (cluster or {})),
                )
                for name, port in (("app", 9000), ("other", 9500))
            ),
        )
        self.world = World(self.config, moving=moving)

    def context(self) -> ssl.SSLContext:
        """For clients."""
        return client_context(self.authority.file, self.version)

    def socket(self) -> Socket:
        """A client that has sent nothing yet."""
        return self.world.connect("web")

    def client(self, name: str = "edge.test") -> Far:
        """A client whose handshake is done."""
        return Far(self.socket(), self.context(), name=name).handshake()

    def server(self) -> Socket:
        """The endpoint of the oldest dial, in plaintext."""
        server = self.world.dialled()
        server.accept()
        return server

    def secure_server(self) -> Far:
        """The same behind its handshake."""
        socket = self.server()
        return Far(socket, server_context(self.pair, self.version), server=True).handshake()


def by_sni(*names: tuple[str, str]) -> tuple[RouteConfig, ...]:
    """Routes by server name: the name, and the cluster."""
    return tuple(RouteConfig(cluster=cluster, match=MatchConfig(sni=name)) for name, cluster in names)
