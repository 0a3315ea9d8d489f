"""Clusters: equivalent upstreams, one of which each stream is given to.

Saved of a cluster is only what no connection knows: the balance. What is under way on its endpoints, the connections
themselves tell.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from hotswap.address import Address
from hotswap.errors import CannotRestore, ConfigError
from proxy.balance import BALANCES
from proxy.dns.endpoints import expanded, hosts
from proxy.encryption.status import described
from proxy.encryption.switch import Switch
from proxy.endpoint import FROM, Anywhere, Endpoint
from proxy.health.healing import Healing
from proxy.limits import Limits
from proxy.metrics.families import Families
from proxy.metrics.meters import ClusterMeters, EndpointMeters
from proxy.ondemand import client_contexts, login
from proxy.tls.tally import Handshakes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from typing import Any

    from proxy.config.model import ClusterConfig, EndpointConfig
    from proxy.limits import Claimant
    from proxy.tls.contexts import ClientContexts


class Cluster:
    """The endpoints of one `ClusterConfig` and the balance between them."""

    __slots__ = (
        "_former",
        "_pick",
        "_used",
        "announces",
        "answers",
        "calls_before",
        "config",
        "endpoints",
        "families",
        "handshakes",
        "healing",
        "http2",
        "limits",
        "login",
        "max_duration",
        "meters",
        "name",
        "personal",
        "request_timeout",
        "shared_connections",
        "switch",
        "tls",
    )

    def __init__(
        self,
        config: ClusterConfig,
        answers: Mapping[str, tuple[str, ...]] | None = None,
        tls: ClientContexts | None = None,
        families: Families | None = None,
    ) -> None:
        """`answers` are those that its names have already, `tls` what was made of its ``tls`` already."""
        self.config = config
        self._note(config)
        self.name = config.name
        self.families = families or Families()
        self.meters = ClusterMeters(self.families, config.name)
        self.announces = config.proxy_protocol
        """The version of the PROXY protocol header that connections begin with; None without one."""
        self._pick = BALANCES[config.balance]
        weighted = config.balance == "weighted"
        known = answers or {}
        self.answers = {host: known[host] for host in hosts(config.endpoints) if host in known}
        """The addresses of its names, those that were answered."""
        self.endpoints: tuple[Endpoint, ...] = tuple(
            self._made(address, one, weighted=weighted) for address, one in expanded(config.endpoints, self.answers)
        )
        if config.original_dst:
            self.endpoints = (Anywhere(self),)
        self.personal = config.transparent_source or config.original_dst
        """Each client reaches the endpoints in a way of its own: who picks one asks for its `Endpoint.seen_by`."""
        self._former: dict[str, Endpoint] = {}
        self.calls_before = 0
        """Those of endpoints that are gone, see `calls`."""
        self.tls = None if config.tls is None else tls or client_contexts(config.tls)
        """How its endpoints are talked to; None: in plaintext."""
        self.switch = Switch(self)
        """Whether its connections are encrypted."""
        self.handshakes = Handshakes(self.meters.handshakes)
        self._used = self.endpoints
        self.healing: Healing | None = None
        self.limits = Limits(self) if Limits.wanted(config) else None
        """None if it has none."""
        self.login = None if config.broker is None else login(config.broker)
        """How connections log in that change their broker (amqp); None: none does."""
        self._heal()

    def _made(self, address: Address, config: EndpointConfig, *, weighted: bool) -> Endpoint:
        made = Endpoint(self, address, config.weight if weighted else 1, config.labels, config.address.host)
        made.encryption, made.announces = config.encryption, config.announces
        return made

    def _heal(self) -> None:
        """Have the endpoints watched, if they are to be."""
        if not Healing.wanted(self.config):
            self.healing = None
            for endpoint in self.endpoints:
                endpoint.heal_by(None)
            return
        self.healing = self.healing or Healing(self)
        self.healing.follow()

    @property
    def in_flight(self) -> int:
        """Streams under way, those on endpoints that were dropped, too."""
        return sum(endpoint.in_flight for endpoint in self.every())

    @property
    def connections(self) -> int:
        """To all endpoints: in use, being made, idle, shared."""
        return sum(endpoint.connections for endpoint in self.every())

    @property
    def calls(self) -> int:
        """Answers on shared connections to all endpoints, also those that are gone: a bake compares them."""
        return self.calls_before + sum(one.calls for one in self.every())

    def every(self) -> tuple[Endpoint, ...]:
        """All endpoints, those that were dropped, too."""
        return (*self.endpoints, *self._former.values())

    def every_endpoint(self) -> Iterator[tuple[Endpoint, bool]]:
        """Those that have connections or may get some, each with whether it may be picked."""
        used = {id(endpoint) for endpoint in self._used}
        for endpoint in self.endpoints:
            yield endpoint, id(endpoint) in used
        for endpoint in self._former.values():
            if endpoint.connections:
                yield endpoint, False

    def endpoint_meters(self, name: str) -> EndpointMeters:
        """What an endpoint counts with."""
        return EndpointMeters(self.families, self.name, name, tls=self.config.tls is not None)

    def claim(self, claimant: Claimant) -> None:
        """This one is restored: it may wait for a connection, or try again."""
        if self.limits is not None:
            self.limits.claim(claimant)

    def may_retry(self, claimant: Claimant) -> bool:
        """This one's request may be sent again, as far as the budget is concerned."""
        return self.limits is None or self.limits.may_retry(claimant)

    def _note(self, config: ClusterConfig) -> None:
        """What is looked at for every request, as numbers of C: 20 ns each."""
        self.http2 = config.http2
        self.request_timeout = config.request_timeout
        self.shared_connections = config.shared_connections
        self.max_duration = inf if config.max_duration is None else config.max_duration

    def use(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Pick from these: `Healing` knows which of them work."""
        self._used = endpoints

    def resolved(self, host: str, addresses: tuple[str, ...], *, inert: bool = False) -> None:
        """A name was answered: its endpoints are these. `inert`: nothing may be closed."""
        if self.answers.get(host) != addresses:
            self.answers[host] = addresses
            self.follow(self.config, inert=inert)

    def follow(self, config: ClusterConfig, *, inert: bool = False, tls: ClientContexts | None = None) -> None:
        """Take another configuration in place. Endpoints that stay keep their pool, their balance and their counts.

        While none of its names is answered yet the endpoints of before serve on.
        """
        known = {endpoint.name: endpoint for endpoint in self.endpoints}
        # Left before, for one of the same name that begins its connections otherwise:
        beside = [former for former in self._former.values() if known.setdefault(former.name, former) is not former]
        tls = tls or (self.tls if config.tls == self.config.tls else None)
        fresh = Cluster(config, self.answers, tls, self.families)
        if not fresh.endpoints and not fresh.answers:
            fresh.endpoints = self.endpoints
        began = (self.announces, self.config.transparent_source)
        # Whether they are encrypted is changed by the switch; whom we trust, only by other connections.
        trusts = None in {self.config.tls, config.tls} or self.config.tls == config.tls
        stays = began == (config.proxy_protocol, config.transparent_source) and trusts  # else pooled ones do not fit
        endpoints = []
        for endpoint in fresh.endpoints:
            endpoint.cluster = self
            old = known.pop(endpoint.name, endpoint) if stays else endpoint
            old.follow(endpoint)
            endpoints.append(old)
        self.config, self.answers = config, fresh.answers
        self._note(config)
        self.announces, self.tls = config.proxy_protocol, fresh.tls
        self.personal = fresh.personal
        self.login = fresh.login
        self.limits = (self.limits or Limits(self)) if Limits.wanted(config) else None
        self._pick = fresh._pick
        self.endpoints = self._used = tuple(endpoints)
        self._former = {}
        for endpoint in (*known.values(), *beside):
            if inert or endpoint.leave():
                taken = endpoint.name in self._former
                self._former[f"{endpoint.name} {id(endpoint)}" if taken else endpoint.name] = endpoint
            else:
                self.calls_before += endpoint.calls
        self.switch.follow(config)
        self._heal()

    def close(self) -> None:
        """No configuration has it any more. What is under way finishes."""
        for endpoint in (*self._former.values(), *self.endpoints):
            endpoint.leave()

    def describe(self, now: float) -> dict[str, Any]:
        """For people."""
        about: dict[str, Any] = {
            "name": self.name,
            "endpoints": [endpoint.describe(now) for endpoint in self.endpoints],
        }
        if self.tls is not None:
            about["handshakes"] = self.handshakes.describe()
        if self.switch.concerned:
            about["encryption"] = described(self, now)
        sent, dropped = int(self.meters.mirrored.value), int(self.meters.dropped.value)
        return {**about, "mirrored": {"sent": sent, "dropped": dropped}} if sent or dropped else about

    def pick(self, tried: Collection[str] = (), subset: tuple[tuple[str, str], ...] = ()) -> Endpoint | None:
        """The endpoint for the next stream; None if none is left.

        None of those whose names were `tried`, and only one with all labels of the `subset`.
        """
        if subset:
            return self._pick_of(subset, tried)
        candidates = self._used
        if tried:
            candidates = tuple([endpoint for endpoint in candidates if endpoint.name not in tried])
            if not candidates:  # rather one that did not work lately than none
                candidates = tuple([endpoint for endpoint in self.endpoints if endpoint.name not in tried])
            if not candidates:
                return None
        if len(candidates) == 1:
            return candidates[0]
        return self._pick(candidates) if candidates else None

    def _pick_of(self, subset: tuple[tuple[str, str], ...], tried: Collection[str]) -> Endpoint | None:
        wanted = frozenset(subset)
        for endpoints in (self._used, self.endpoints):
            fit = [one for one in endpoints if one.labels >= wanted and one.name not in tried]
            if fit:
                return self._pick(fit)
        return None

    def endpoint(self, key: str) -> Endpoint:
        """The endpoint with that key.

        One that the configuration dropped lives on for the connections it still has; it is never picked.
        """
        address, _, source = key.partition(FROM)
        for endpoint in self.endpoints:
            if isinstance(endpoint, Anywhere):
                return endpoint.guise(_parsed(address), source)
            if endpoint.name == address:
                return endpoint.guise(endpoint.address, source) if source else endpoint
        former = self._former.get(address)
        if former is None:
            former = Endpoint(self, _parsed(address), 0)
            former.pool.limit = 0
            self._former[address] = former
        return former.guise(former.address, source) if source else former


def _parsed(address: str) -> Address:
    try:
        return Address.parse(address)
    except ConfigError as error:
        raise CannotRestore(str(error)) from None
