"""What a server is told of the upgrades that it goes through. Whatever it makes of that must not harm them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hotswap.swappable import Took

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotswap.handover import wire
    from hotswap.handover.source import SourceAttempt
    from hotswap.swappable import Swappable
    from hotswap.upgrade import Upgrade

log = logging.getLogger("hotswap")


def owning(server: Swappable, generation: int, how: str) -> None:
    """See `Swappable.owning`."""
    _tell(lambda: server.owning(generation, how))


def took_over(server: Swappable, bye: wire.Bye, lost: int) -> None:
    """See `Swappable.took_over`. A source of an older version says less."""
    phases = {phase: milliseconds / 1e3 for phase, milliseconds in bye.phases.items()}
    _tell(lambda: server.took_over(Took(bye.downtime_ms / 1e3, phases, bye.stayed, lost)))


def kept_on(server: Swappable, upgrade: Upgrade | None, attempt: SourceAttempt | None = None) -> None:
    """See `Swappable.kept_on`. `upgrade` is the one under way: the attempt may be another's, or it came to none.

    Each upgrade is told of once. A dry run was never to replace anybody.
    """
    if upgrade is not None and (attempt is None or attempt.hello.token == upgrade.successor.token):
        if upgrade.told or upgrade.order.dry_run:
            return
        upgrade.told = True
        how = "rollback" if upgrade.order.rollback else "upgrade"
    else:
        how = "upgrade" if attempt is not None and attempt.hello.token else "takeover"
    thawed = attempt is not None and attempt.thawed
    _tell(lambda: server.kept_on(how, thawed=thawed))


def _tell(news: Callable[[], None]) -> None:
    try:
        news()
    except Exception:  # a bug of the server's: it owns, or serves on, all the same
        log.exception("the server could not take in what it was told of an upgrade")
