"""What the agent asks of whatever a sidecar runs under. `units.py` does it by systemd, `children.py` itself.

A runner starts the first generation of a sidecar, and the next one after a crash, and holds its listeners meanwhile. It
has nothing to do with upgrades: there the serving generation starts its successor, in the same unit or under the same
subreaper, and the runner learns of it by ``MAINPID=`` (sd_notify(3)).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from vm_agent.spec.model import Limits


@dataclass(frozen=True)
class Launch:
    """What to start, and with what."""

    name: str
    command: tuple[str, ...]
    """The program by an absolute path; it goes through the link ``current``, so a crash starts what is current then."""
    directory: Path
    runtime_dir: Path
    """The directory that holds the sidecar's own, ``runtime_dir/name``."""
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    capabilities: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    start_timeout: float = 30.0
    stop_timeout: float = 60.0
    writable: tuple[Path, ...] = ()
    """Directories it writes to beside its runtime directory."""
    watchdog: float = 0.0
    """Seconds between two signs of life, after which it is killed and started anew; 0: it need not give any."""
    log: Path | None = None
    """Where `children` appends what it writes; None: ``runtime_dir/.agent/NAME.log``. With systemd: the journal."""


@dataclass(frozen=True)
class Running:
    """What runs of a sidecar."""

    pid: int
    """The main process; 0 between a death and the start after it, which may be seconds if it does nothing but die."""
    ready: bool
    restarts: int
    """How often the runner started it anew after a death, since the runner knows it."""
    held: tuple[str, ...] = ()
    """Addresses of listeners that are held for it, as far as the runner can tell: systemd tells only how many."""
    kept: int = 0
    """How many descriptors are held for it."""
    ending: str = ""
    """How the last process ended, for people: ``killed by signal 9``, ``exit code 3``. Empty: none ended yet."""
    status: str = ""
    """What it says of itself: ``STATUS=``, sd_notify(3)."""


Changed = Callable[[str], None]
"""Called with the name of a sidecar when what `look` says of it may have changed. In the event loop's thread."""


class Runner(Protocol):
    """All methods belong to the event loop's thread; coroutines may take as long as the launch's timeouts."""

    @property
    def kind(self) -> str:
        """``systemd`` or ``children``."""

    async def open(self, changed: Changed) -> None:
        """Begin to work, and to tell of changes. Raises `HotswapError` with the remedy."""

    async def close(self) -> None:
        """End, and disturb no sidecar."""

    async def start(self, launch: Launch) -> None:
        """Start the sidecar and return once it is ready; it is restarted after a crash from then on.

        Raises `StartFailed` with what it said last; nothing runs then.
        """

    async def adopt(self, launch: Launch) -> bool:
        """Look after a sidecar that runs already, started by an agent before this one. False: none runs."""

    async def look(self, name: str) -> Running | None:
        """What runs now; None if nothing does."""

    async def limit(self, launch: Launch) -> list[str]:
        """Have changed limits take effect. Returns what cannot change while it runs, for people."""

    async def stop(self, name: str, seconds: float) -> None:
        """SIGTERM, wait for the drain, SIGKILL after so many seconds. What it held is let go."""

    async def kill(self, name: str) -> None:
        """SIGKILL the main process: it hangs. It is started anew, its listeners held meanwhile."""
