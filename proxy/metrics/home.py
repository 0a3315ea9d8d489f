"""Where the metrics of a proxy are: in shared memory that outlives its generations.

    cold start     the segment of its name: fresh, or what a crashed one left, and then counting goes on from there
    destination    the segment whose descriptor came in the handover; nothing is written to a cell before it owns
    either, if that segment cannot be used: a fresh one beside it, and a line in the log that says why

With ``metrics: {shared: false}`` it has no name: it passes from generation to generation, and ends with the last one.

Where other users may take part (``upgrade: {peer_uids: ...}``) it is given to the group of the runtime directory.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

from hotswap.log import fields
from proxy.metrics.families import Families
from proxy.metrics.process import Usage
from proxy.metrics.upgrades import Upgrades
from shm_metrics import MetricsError, Registry, exponential
from shm_metrics.memory import Share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from proxy.config.model import MetricsConfig

log = logging.getLogger("proxy")

SEGMENT: Final = "metrics"
"""What its descriptor is called in a handover."""


class Home:
    """The registry of one server, and its shared memory. `name` is empty where there is to be none, as in tests."""

    def __init__(
        self,
        config: MetricsConfig,
        name: str,
        build: tuple[str, str],
        *,
        peers: frozenset[int] = frozenset(),
        directory: Path | None = None,
    ) -> None:
        """`build`: version, and what tells this code from any other. `peers`: users who may count in it later.

        They have the group of that `directory`.
        """
        self.registry = Registry()
        bounds = exponential(config.first_bucket, 2, config.buckets)
        self.families = Families(self.registry, per_endpoint=config.per_endpoint, bounds=bounds)
        self.upgrades = Upgrades(self.registry, build)
        self._usage = Usage()
        self._name = name
        self._named = config.shared
        self._peers = peers
        self._directory = directory

    def _share(self) -> Share | None:
        """Asked for late: the directory is made by a generation that starts."""
        if not self._peers or self._directory is None:
            return None
        return Share(self._peers, self._directory.stat().st_gid)

    def descriptors(self) -> dict[str, int]:
        """For a destination; they are closed once sent."""
        fd = self.registry.fd
        return {} if fd < 0 else {SEGMENT: os.dup(fd)}

    def accept(self, fd: int) -> None:
        """The segment of the source, whose descriptor stays the caller's."""
        what = "the metrics of the generation before cannot be used"
        self._try(what, lambda: self.registry.move_into(fd, self._name, self._share()))

    def own(self) -> None:
        """This generation owns: have a segment, and have gauges count for it."""
        if self.registry.fd < 0 and self._name:
            if self._named:
                self._try("metrics cannot be kept in shared memory by name", self._open)
            if self.registry.fd < 0:
                what = "metrics are in the memory of this process alone"
                self._try(what, lambda: self.registry.move_off(share=self._share()))
        self.registry.reign()
        self.upgrades.again()

    def _open(self) -> None:
        for reason in self.registry.move_to(self._name, share=self._share()):
            log.warning("a segment of metrics is not used, and left where it is", extra=fields(reason=reason))

    def _try(self, what: str, move: Callable[[], None]) -> None:
        try:
            move()
        except (MetricsError, OSError) as error:
            log.warning(what, extra=fields(reason=str(error)))

    def remain(self) -> None:
        """This generation gave everything away but for what it kept: the gauges of that count, too."""
        self.tell()
        self.registry.assist()

    def look(self) -> Iterator[None]:
        """See `Usage.look`."""
        return self._usage.look()

    def tell(self) -> None:
        """Say what this process uses, descriptors as of the last `look`."""
        self.registry.tell(self._usage.now(self.upgrades.number))

    def end(self) -> None:
        """An orderly end without a successor: nobody goes on counting."""
        self.registry.unlink()
