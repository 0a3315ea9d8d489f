"""Where the metrics of a proxy are: in shared memory that outlives its generations.

    cold start     the segment of its name: fresh, or what a crashed one left, and then counting goes on from there
    destination    the segment whose descriptor came in the handover; nothing is written to a cell before it owns
    either, if that segment cannot be used: a fresh one beside it, and a line in the log that says why

With ``shared: false`` it has no name: it passes from generation to generation, and ends with the last one.
"""

from __future__ import annotations

import hashlib
import logging
import os
from typing import TYPE_CHECKING, Final

from hotswap.log import fields
from shm_metrics.errors import MetricsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shm_metrics import Registry

log = logging.getLogger("proxy")

SEGMENT: Final = "metrics"
"""What its descriptor is called in a handover."""


def segment_name(name: str, runtime: Path) -> str:
    """The name of the segment of a proxy: two of one name differ in their runtime directory."""
    where = hashlib.sha256(os.fsencode(runtime.absolute())).hexdigest()
    return f"hotswap-{name[:100]}-{where[:10]}"


class Home:
    """The shared memory of one registry. `name` is empty where there is to be none, as in tests."""

    def __init__(self, registry: Registry, name: str) -> None:
        self._registry = registry
        self._name = name
        self.shared = True
        """It has a name. From the configuration, which may change until it is needed."""

    def descriptors(self) -> dict[str, int]:
        """For a destination; they are closed once sent."""
        fd = self._registry.fd
        return {} if fd < 0 else {SEGMENT: os.dup(fd)}

    def accept(self, fd: int) -> None:
        """The segment of the source, whose descriptor stays the caller's."""
        self._try("the metrics of the generation before cannot be used", lambda: self._join(fd))

    def _join(self, fd: int) -> None:
        self._registry.move_into(fd, self._name)

    def own(self) -> None:
        """This generation owns: have a segment, and have gauges count for it."""
        if self._registry.fd < 0 and self._name:
            if self.shared:
                self._try("metrics cannot be kept in shared memory by name", self._open)
            if self._registry.fd < 0:
                self._try("metrics are in the memory of this process alone", self._registry.move_off)
        self._registry.reign()

    def _open(self) -> None:
        for reason in self._registry.move_to(self._name):
            log.warning("a segment of metrics is not used, and left where it is", extra=fields(reason=reason))

    def _try(self, what: str, move: Callable[[], None]) -> None:
        try:
            move()
        except (MetricsError, OSError) as error:
            log.warning(what, extra=fields(reason=str(error)))

    def remain(self) -> None:
        """This generation gave everything away but for what it kept: the gauges of that count, too."""
        self._registry.assist()

    def end(self) -> None:
        """An orderly end without a successor: nobody goes on counting."""
        self._registry.unlink()
