"""What most configurations have no use for, and what takes long to import: here it is imported when it is asked for.

    OpenSSL's part of TLS (pyOpenSSL, `cryptography`)        35 ms
    HTTP/2, Bolt, Dubbo and AMQP, with what they share       25 ms

of a cold start that takes five times as long in all. A configuration that asks for it pays for it. Everybody else gets
it once the proxy serves, or before it takes over: see `proxy.later`, for which all that is asked for here is listed
below, besides the connections of `proxy.protocols`. A serving generation must not have to import anything.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

    from hotswap.settings.problems import Problems
    from hotswap.settings.reader import Part
    from proxy.amqp.login import Login
    from proxy.config.model import BrokerConfig, RouteConfig
    from proxy.config.tls_model import ClusterTlsConfig, ListenerTlsConfig
    from proxy.dns.names import Asker
    from proxy.multiplexed.routes import CallTable
    from proxy.multiplexed.wire import Wire
    from proxy.split import Splits
    from proxy.tls.contexts import ClientContexts, ServerContexts

_CONTEXTS: Final = "proxy.tls.contexts"
_TWIN: Final = "proxy.tls.twin"
_LOOKS: Final = "proxy.config.tls_looks"
_ASKING: Final = "proxy.http2.asking"
_LOGIN: Final = "proxy.amqp.login"
_ASKER: Final = "proxy.dns.asker"
_WIRES: Final = {"bolt": ("proxy.bolt.wire", "BOLT"), "dubbo": ("proxy.dubbo.wire", "DUBBO")}
_TABLES: Final = {
    "bolt": ("proxy.bolt.routes", "ServiceTable"),
    "dubbo": ("proxy.dubbo.routes", "InvocationTable"),
}

CALLS: Final = frozenset(_TABLES)
"""Protocols whose calls share connections, see `proxy.multiplexed`."""

MODULES: Final = (
    *(module for module, _ in (*_WIRES.values(), *_TABLES.values())),
    _ASKING,
    _LOGIN,
    _ASKER,
    _TWIN,
    _CONTEXTS,
    _LOOKS,
)
"""Whatever may be asked for, in an order in which none imports much by itself."""


def server_contexts(config: ListenerTlsConfig) -> ServerContexts:
    """What a listener shows. Reads files. Raises `ConfigError`."""
    made: ServerContexts = named(_CONTEXTS, "ServerContexts")(config)
    return made


def client_contexts(config: ClusterTlsConfig) -> ClientContexts:
    """What a cluster trusts. Reads files. Raises `ConfigError`."""
    made: ClientContexts = named(_CONTEXTS, "ClientContexts")(config)
    return made


def twin() -> Any:
    """The record layer in Python, `proxy.tls.twin`: for suites that C does not have, which few handshakes agree on."""
    return import_module(_TWIN)


def look(parts: list[Part], base: Path, now: float, problems: Problems) -> None:
    """See `proxy.config.tls_looks.look`."""
    named(_LOOKS, "look")(parts, base, now, problems)


def wire(protocol: str) -> Wire | None:
    """What Bolt or Dubbo has of its own; None for any other protocol."""
    found: Wire | None = named(*_WIRES[protocol]) if protocol in _WIRES else None
    return found


def asking() -> Any:
    """How a server of HTTP/2 is asked whether it is well, `proxy.http2.asking`."""
    return import_module(_ASKING)


def call_table(protocol: str, routes: tuple[RouteConfig, ...], splits: Splits) -> CallTable[Any]:
    """The routes of the calls of a listener. `protocol` is one of `CALLS`."""
    made: CallTable[Any] = named(*_TABLES[protocol])(routes, splits)
    return made


def login(config: BrokerConfig) -> Login:
    """How a proxy of AMQP logs in at a broker."""
    made: Login = named(_LOGIN, "Login")(config)
    return made


def network_asker() -> Asker:
    """What looks names up, see `proxy.dns.names.Names`."""
    made: Asker = named(_ASKER, "NetworkAsker")()
    return made


def named(module: str, name: str) -> Any:
    """An attribute of a module."""
    return getattr(import_module(module), name)
