"""What encryption is wanted of the endpoints of one cluster.

    mode of an endpoint = its own in the configuration, else the order of the control socket, else the cluster's
    follow              = what it announced on the control socket, else in the file, else in the configuration
    share               = percent of the connections to endpoints of which TLS is wanted, growing within the ramp

Where TLS could not be had, plaintext serves until a pause is over, unless the cluster is strict. A pause begins at
``retry`` and doubles with each failure in a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.config.tls_model import EncryptionConfig
from proxy.encryption.state import Order, TroubleState, WishesState
from proxy.timers import deadline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.config.model import ClusterConfig
    from proxy.config.tls_model import Announced
    from proxy.endpoint import Endpoint

WHOLE: Final = 100
MOST_TROUBLES: Final = 4096
"""Endpoints whose failures are remembered: those of ``original_dst`` come and go without end."""


class Trouble:
    """TLS to an endpoint could not be had, so many times in a row."""

    __slots__ = ("failures", "not_before", "reason")

    def __init__(self, failures: int = 0, not_before: float = 0.0, reason: str = "") -> None:
        self.failures = failures
        self.not_before = not_before
        """It is not tried again until then, monotonic seconds."""
        self.reason = reason


class Wishes:
    """Those of one cluster."""

    __slots__ = ("_base", "_began", "_own", "_reached", "announced", "config", "file", "order", "troubles")

    def __init__(self, config: ClusterConfig) -> None:
        self._own = config
        self.config = settings(config)
        self.order: Order | None = None
        """That of the control socket, if there is one."""
        self.announced: dict[str, Announced] = {}
        """On the control socket, by endpoint."""
        self.file: Mapping[str, Announced] | None = None
        """In the file, by endpoint; None if there is none, or nobody could read it yet."""
        self.troubles: dict[str, Trouble] = {}
        """By endpoint."""
        self._base = 0
        """The share at which it began to grow."""
        self._began: float | None = None
        """When, monotonic seconds; None: when it is asked for next."""
        self._reached = 0

    # ---- what changes them ----

    def follow(self, config: ClusterConfig) -> None:
        """Take another configuration. An order holds as long as the configuration does not want something new."""
        before = self._configured
        self._own, self.config = config, settings(config)
        if self._configured != before:
            self.order = None
            self._begin()

    def obey(self, order: Order | None) -> None:
        """Have this instead of what the configuration says; None: that again."""
        self.order = order
        self.troubles.clear()  # whoever orders it wants it tried now
        self._begin()

    def _begin(self) -> None:
        """The share grows from what it is. A lower one holds at once."""
        self._base, self._began = self._reached, None

    @property
    def _configured(self) -> Order:
        return Order(self.config.wanted, self.config.percent, self.config.ramp or 0.0)

    @property
    def current(self) -> Order:
        """What is in force."""
        return self.order or self._configured

    # ---- what they are ----

    @property
    def possible(self) -> bool:
        """The configuration says how TLS is spoken."""
        return self._own.tls is not None

    @property
    def strict(self) -> bool:
        """Rather no connection than one in plaintext, where TLS is wanted."""
        return self.config.strict

    def wants(self, endpoint: Endpoint) -> bool:
        """Connections to it are to be encrypted, as far as the share allows."""
        if self._own.tls is None:
            return False
        mode = endpoint.encryption or self.current.wanted
        return mode == "on" or (mode == "follow" and self.announces(endpoint) == "tls")

    def announces(self, endpoint: Endpoint) -> Announced:
        """What it says that it accepts."""
        name = endpoint.name
        return self.announced.get(name) or (self.file or {}).get(name) or endpoint.announces or "plaintext"

    def share(self, now: float) -> int:
        """Percent of the connections that are to be encrypted now."""
        order = self.current
        if self._began is None:
            self._began = now
        grown = WHOLE if order.ramp <= 0 else int((now - self._began) * WHOLE / order.ramp)
        share = order.percent
        if grown < WHOLE and self._base < share:
            share = self._base + (share - self._base) * max(grown, 0) // WHOLE
        self._reached = 0 if order.wanted == "off" else share
        return share

    def quota(self, total: int, now: float) -> int:
        """Of so many connections so many: at least one, unless it is none at all."""
        return -(-total * self.share(now) // WHOLE)

    def grows(self, now: float) -> bool:
        """The share has not reached what is wanted."""
        return self.current.wanted != "off" and self.share(now) < self.current.percent

    # ---- what became of them ----

    def refused(self, name: str, reason: str, now: float) -> None:
        """TLS to that endpoint could not be had."""
        if name not in self.troubles and len(self.troubles) >= MOST_TROUBLES:
            resting = [(key, one) for key, one in self.troubles.items() if one.not_before > now]
            self.troubles = dict(resting[-MOST_TROUBLES // 2 :])
        trouble = self.troubles.setdefault(name, Trouble())
        if trouble.not_before > now:  # one of several attempts at a time
            return
        pause = min(self.config.retry * 2 ** min(trouble.failures, 30), self.config.max_retry)
        trouble.failures += 1
        trouble.not_before, trouble.reason = now + pause, reason

    def proven(self, name: str) -> None:
        """TLS to that endpoint works."""
        self.troubles.pop(name, None)

    def blame(self) -> str:
        """What to say of endpoints that could not be reached, if that is for want of TLS."""
        return " by TLS, and its cluster allows nothing else" if self.troubles and self.config.strict else ""

    def resting_until(self, name: str) -> float:
        """When TLS to it may be tried, monotonic seconds."""
        trouble = self.troubles.get(name)
        return 0.0 if trouble is None else trouble.not_before

    # ---- the value ----

    def save(self, now: float) -> WishesState:
        """See `proxy.encryption.state`."""
        troubles = {
            name: TroubleState(one.failures, one.not_before - now, one.reason) for name, one in self.troubles.items()
        }
        self.share(now)
        age = now - (now if self._began is None else self._began)
        return WishesState(
            self.order,
            self._configured,
            self.announced,
            age,
            self._base,
            self._reached,
            troubles,
            dict(self.file or {}),
        )

    def load(self, saved: WishesState, now: float) -> None:
        """The counterpart of `save`."""
        if saved.over == self._configured:
            self.order, self._base, self._began = saved.order, saved.base, now - saved.began
        else:
            self._base, self._began = saved.share, None
        self._reached = saved.share
        self.announced = dict(saved.announced)
        if self.file is None and self.config.announcements is not None and saved.file:
            self.file = saved.file  # it has a mistake by now: what it said before stays
        self.troubles = {
            name: Trouble(one.failures, deadline(one.left, now), one.reason) for name, one in saved.troubles.items()
        }


def settings(config: ClusterConfig) -> EncryptionConfig:
    """Those of a cluster that has none: TLS, and nothing but TLS, if it says how."""
    if config.encryption is not None:
        return config.encryption
    return EncryptionConfig(wanted="on", strict=True) if config.tls is not None else EncryptionConfig(wanted="off")
