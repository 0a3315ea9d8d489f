"""The metrics of a worker: it counts in a slot of its own, in the segment of its generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.metrics.home import Home

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config.model import Config


class Lodger(Home):
    """Where the crew decides. Gauges of a worker count when it sets them, see `proxy.workers.duty`."""

    def __init__(self, config: Config, directory: Path | None) -> None:
        """`directory`: see `Home`."""
        super().__init__(config.metrics, "", ("", ""), peers=frozenset(config.upgrade.peer_uids), directory=directory)

    def own(self) -> None:
        """Who reigns is not decided here."""

    def end(self) -> None:
        """The segment outlives every worker."""
