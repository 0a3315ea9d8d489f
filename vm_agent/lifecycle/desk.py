"""What all sidecars of one agent share: settings, releases, the runner, the history, and whose turn it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hotswap.runtime import VARIABLE
from vm_agent.errors import ReleaseError
from vm_agent.runners.base import Launch, Runner

if TYPE_CHECKING:
    from vm_agent.history import History
    from vm_agent.lifecycle.driver import Driver
    from vm_agent.releases.store import Releases
    from vm_agent.spec.model import AgentSettings, Spec

_WATCHDOG_SECONDS = 15.0  # whoever hangs is killed also while there is no agent; every generation says that it lives


class Desk:
    """Made once for an agent."""

    def __init__(
        self,
        settings: AgentSettings,
        releases: Releases,
        runner: Runner,
        history: History,
        drivers: dict[str, Driver] | None = None,
    ) -> None:
        self.settings = settings
        self.releases = releases
        self.runner = runner
        self.history = history
        self.drivers: dict[str, Driver] = {} if drivers is None else drivers
        self.emptied: Callable[[str], None] = lambda _name: None
        """Called with the name of a sidecar that is no more."""

    def upgrading(self, but: str) -> str:
        """The other sidecar that is being upgraded; empty: none. One at a time, so a bad release hurts one."""
        return next((name for name, driver in self.drivers.items() if name != but and driver.busy), "")

    def rested(self, name: str) -> None:
        """An upgrade may be over: it is the next one's turn."""
        for other, driver in list(self.drivers.items()):
            if other != name and driver.waits:
                driver.consider()

    def prune(self) -> None:
        """Remove releases that no sidecar uses, has used last, wants or moves to."""
        used: set[str] = set()
        for driver in self.drivers.values():
            memory = driver.memory
            used |= {driver.serving, memory.previous, self.releases.current(driver.name) or ""}
            if driver.spec is not None:
                used.add(driver.spec.release)
            if memory.operation is not None:
                used |= {memory.operation.before, memory.operation.after}
        try:
            for version in self.releases.prune(used - {""}):
                self.history.note("", "pruned", f"release {version}")
        except ReleaseError as error:  # there is time until the next one
            self.history.note_once("", "not pruned", str(error))

    def launch(self, spec: Spec) -> Launch:
        """What starts this sidecar, whatever release is current then."""
        return Launch(
            name=spec.name,
            command=self.command(spec, self.releases.link(spec.name)),
            directory=Path(spec.config).parent,
            runtime_dir=Path(self.settings.runtime_dir),
            environment={VARIABLE: self.settings.runtime_dir, **dict(spec.run.environment)},
            user=spec.run.user,
            capabilities=spec.run.capabilities,
            limits=spec.run.limits,
            start_timeout=spec.run.start_timeout,
            stop_timeout=spec.run.stop_timeout,
            watchdog=_WATCHDOG_SECONDS,
        )

    def command(self, spec: Spec, release: Path) -> tuple[str, ...]:
        """The command of a spec, of the release in this directory."""
        filled = {"config": spec.config, "name": spec.name, "runtime_dir": self.settings.runtime_dir}
        program, *arguments = spec.command
        return (str(release / program), *(_filled(word, filled) for word in arguments))


def _filled(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word
