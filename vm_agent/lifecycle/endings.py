"""How an upgrade ends in what is remembered: kept, condemned, or undone. The process is as it should be already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotswap.errors import AttemptFailed, HotswapError, RolledBack
from vm_agent.errors import NotPossible, ReleaseError, StartFailed
from vm_agent.lifecycle.memory import Condemned
from vm_agent.lifecycle.states import State
from vm_agent.lifecycle.wishes import digest

if TYPE_CHECKING:
    from vm_agent.lifecycle.driver import Driver


STUCK = "stuck"
"""A condemned release that could not be taken back, and serves on."""


def keep(driver: Driver, why: str) -> None:
    """The release proved itself. The link leads to it already."""
    memory, operation = driver.memory, driver.memory.operation
    if operation is None:
        return
    memory.operation = None
    memory.previous = "" if operation.back else operation.before
    left = Condemned(operation.before, "" if driver.spec is None else digest(driver.spec), operation.why)
    memory.condemned = left if operation.back else None
    driver.serving = operation.after
    driver.audience.outcome = (0, f"release {operation.after} serves")
    driver.note("went back" if operation.back else "kept", why, before=operation.before, after=operation.after)
    driver.desk.prune()


def condemn(driver: Driver, why: str, came_from: State) -> None:
    """The release is not tried again until the spec changes, or somebody orders it."""
    memory, operation = driver.memory, driver.memory.operation
    if operation is None:
        return
    _lead_back(driver)
    memory.operation = None
    memory.condemned = Condemned(operation.after, "" if driver.spec is None else digest(driver.spec), why)
    what, kind = "failed", AttemptFailed.exit_code
    if came_from is State.RETURNING and memory.state is State.SERVING and driver.serving == operation.after:
        what, kind = STUCK, HotswapError.exit_code
    elif came_from in {State.BAKING, State.RETURNING}:
        what, kind = "taken back", RolledBack.exit_code
    driver.audience.outcome = (kind, why)
    driver.note(what, why, before=operation.before, after=operation.after)


def undo(driver: Driver, why: str) -> None:
    """Nobody is to blame: it is tried again."""
    _lead_back(driver)
    driver.memory.operation = None
    driver.note("undone", why)


def _lead_back(driver: Driver) -> None:
    """An agent may have died when the link was moved and that was not yet written down."""
    operation, releases = driver.memory.operation, driver.desk.releases
    if operation is None or not operation.before or releases.current(driver.name) != operation.after:
        return
    try:
        releases.point(driver.name, operation.before)
    except ReleaseError as error:
        driver.note("link stays", f"a crash starts release {operation.after}: {error}")


def result(driver: Driver) -> dict[str, Any]:
    """The last event for a watcher: what came of it."""
    state, spec, outcome = driver.memory.state, driver.spec, driver.audience.outcome
    wanted = state is (State.ABSENT if spec is None else State.SERVING)
    if outcome is not None:
        code, message = outcome
    elif wanted and driver.care.trouble is not None:
        code, message = driver.care.trouble.exit_code, str(driver.care.trouble)
    elif wanted and not driver.waits:
        code, message = 0, f"release {driver.serving} serves" if driver.serving else "nothing runs"
    elif driver.postponed:  # the same for who asks a moment after it was tried
        code, message = AttemptFailed.exit_code, driver.postponed
    else:
        kind = StartFailed if state is State.WAITING else NotPossible
        code, message = kind.exit_code, driver.waits or f"is {state}"
    return {
        "event": "result",
        "name": driver.name,
        "ok": code == 0,
        "exit_code": code,
        "message": message,
        "release": driver.serving,
        "state": state,
    }
