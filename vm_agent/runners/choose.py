"""Which runner: as the settings say, or by what this machine has."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from hotswap.errors import HotswapError
from hotswap.log import fields
from vm_agent.runners.base import Changed, Runner
from vm_agent.runners.children import Children
from vm_agent.runners.units import Units

log = logging.getLogger("hotswap.agent")

Wanted = Literal["auto", "systemd", "children"]

BOOTED = Path("/run/systemd/system")  # sd_booted(3)


def booted() -> bool:
    """Whether systemd is PID 1."""
    return BOOTED.is_dir()


async def chosen(wanted: Wanted, changed: Changed) -> Runner:
    """The runner, open. Raises `HotswapError` with the remedy.

    ``auto``: systemd if it is PID 1 here and lets us in, else children.
    """
    if wanted == "systemd" or (wanted == "auto" and booted()):
        runner = Units()
        try:
            await runner.open(changed)
        except HotswapError as error:
            if wanted == "systemd":
                raise HotswapError(
                    f"{error}; run the agent as root on a machine with systemd, or set runner: children"
                ) from None
            log.warning("systemd is there and does not let us in", extra=fields(reason=str(error)))
        else:
            return runner
    children = Children()
    await children.open(changed)
    return children
