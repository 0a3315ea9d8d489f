"""``rbac``: who may. The first rule that fits decides; about each request or call, with tcp on accepting."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Literal

import msgspec

from proxy.filters.api import REQUESTS, Abort, Answer, Client, Filter, Request, Settings, Verdict

Action = Literal["allow", "deny"]


class Rule(Settings, frozen=True):
    """All that is written must hold."""

    action: Action
    source: tuple[str, ...] = ()
    """Networks such as 10.0.0.0/8, or ``unix``; none: any client."""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Fields of the request with exactly this value."""


class RbacConfig(Settings, frozen=True):
    """See `Rbac`."""

    rules: tuple[Rule, ...]
    otherwise: Action = "deny"


class Rbac(Filter):
    """403, or a reset where there are no requests."""

    Config = RbacConfig

    def __init__(self, config: RbacConfig) -> None:
        """Raises `ValueError` for what is no network."""
        super().__init__(config)
        self._networks = [[ip_network(one) for one in rule.source if one != "unix"] for rule in config.rules]

    def accepted(self, client: Client, now: float) -> Abort | None:
        """Rules about headers fit no connection."""
        if client.protocol in REQUESTS:
            return None
        return None if self._action(client.host, None) == "allow" else Abort()

    def request(self, request: Request, now: float) -> Verdict:
        """See `Filter`."""
        return None if self._action(request.client, request) == "allow" else Answer(403)

    def _action(self, host: str, request: Request | None) -> Action:
        for rule, networks in zip(self.config.rules, self._networks, strict=True):
            if rule.headers and request is None:
                continue
            if rule.source and not (
                "unix" in rule.source if host == "unix" else any(ip_address(host) in one for one in networks)
            ):
                continue
            if all(request is not None and request.get(name) == value for name, value in rule.headers.items()):
                action: Action = rule.action
                return action
        otherwise: Action = self.config.otherwise
        return otherwise
