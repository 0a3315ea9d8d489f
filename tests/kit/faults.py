"""What must come of an attempt that fails at a given point: the failure table of ARCHITECTURE.md, row by row.

Some points lie off the usual way, so a `Way` says how an attempt comes to pass them, and which second
failure that takes.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from hotswap import errors
from tests.kit.load import Load
from tests.kit.upstreams import Upstreams


class Outcome(Enum):
    """Who owns in the end, and with what."""

    UNDONE = "the source owns, nothing is lost"
    REHEARSED = "the source owns, nothing is lost, and that was wanted"
    MOVED = "the destination owns, nothing is lost"
    SETTLED = "one of both owns, nothing is lost"
    LISTENERS = "one of both owns the listeners: connections are lost, nobody is refused"
    RESTARTED = "the destination starts anew: connections are lost, some are refused meanwhile"
    NOBODY = "both failed: the next one starts anew"

    @property
    def keeps(self) -> bool:
        """Not one connection is lost."""
        return self in {Outcome.UNDONE, Outcome.REHEARSED, Outcome.MOVED, Outcome.SETTLED}

    def exit_codes(self) -> set[int]:
        """What `hotswap upgrade` may exit with."""
        undone = {
            kind.exit_code
            for kind in (
                errors.HotswapError,
                errors.BindFailed,
                errors.AttemptFailed,
                errors.Refused,
                errors.DestinationFailed,
                errors.DeadlinePassed,
                errors.OwnerHung,
                errors.SourceHung,
                errors.ProtocolError,
            )
        }
        lost = {errors.ConnectionsLost.exit_code}
        return {
            Outcome.UNDONE: undone,
            Outcome.REHEARSED: {0},
            Outcome.MOVED: {0},
            Outcome.SETTLED: undone | {0},
            Outcome.LISTENERS: lost | undone,
            Outcome.RESTARTED: lost,
            Outcome.NOBODY: lost | {errors.NotRunning.exit_code},
        }[self]


class Way(NamedTuple):
    """How an attempt comes to pass a point."""

    options: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()  # that must happen as well
    conflict: bool = False  # the new configuration wants an address that is taken
    few_files: bool = False  # the new generation may open too few files, and is refused


USUAL = Way()
DRY_RUN = Way(options=("--dry-run",))
UNABLE = Way(conflict=True)
REFUSED = Way(few_files=True)
TAKEN_BACK = Way(faults=("destination.send_prepared.before:raise",))
DESTINATION_LOST = Way(faults=("destination.send_owned.after:kill",))
SOURCE_LOST = Way(faults=("source.copy_round.after:kill",))

WAYS: dict[str, Way] = {
    "source.send_refused": REFUSED,
    "source.take_back": TAKEN_BACK,
    "source.put_abort": DRY_RUN,
    "source.thaw": TAKEN_BACK,
    "source.end_destination": DRY_RUN,
    "source.take_listeners": DESTINATION_LOST,
    "destination.send_unable": UNABLE,
    "destination.start_cold": SOURCE_LOST,
    "destination.leave": DRY_RUN,
}

_O = Outcome

# What comes of the death of the process at this point; a pair is (before, after) the action.
KILLED: dict[str, tuple[Outcome, Outcome]] = {
    "source.send_welcome": (_O.RESTARTED, _O.RESTARTED),
    "source.send_refused": (_O.RESTARTED, _O.NOBODY),
    "source.send_resources": (_O.RESTARTED, _O.LISTENERS),
    "source.copy_round": (_O.LISTENERS, _O.LISTENERS),
    "source.freeze": (_O.LISTENERS, _O.LISTENERS),
    "source.put_byte": (_O.LISTENERS, _O.LISTENERS),
    "source.send_final": (_O.LISTENERS, _O.MOVED),
    "source.take_back": (_O.NOBODY, _O.NOBODY),
    "source.put_abort": (_O.LISTENERS, _O.NOBODY),
    "source.thaw": (_O.NOBODY, _O.NOBODY),
    "source.end_destination": (_O.NOBODY, _O.NOBODY),
    "source.retire": (_O.MOVED, _O.MOVED),
    "source.send_stragglers": (_O.MOVED, _O.MOVED),
    "source.send_bye": (_O.MOVED, _O.MOVED),
    "source.take_listeners": (_O.NOBODY, _O.NOBODY),
    "source.close": (_O.MOVED, _O.MOVED),
    "destination.close": (_O.NOBODY, _O.NOBODY),
    "destination.send_round_done": (_O.UNDONE, _O.UNDONE),
    "destination.send_prepared": (_O.UNDONE, _O.UNDONE),
    "destination.send_unable": (_O.UNDONE, _O.UNDONE),
    "destination.take_byte": (_O.UNDONE, _O.UNDONE),
    "destination.send_owned": (_O.UNDONE, _O.LISTENERS),
    "destination.start": (_O.LISTENERS, _O.LISTENERS),
    "destination.start_cold": (_O.NOBODY, _O.NOBODY),
    "destination.send_released": (_O.LISTENERS, _O.NOBODY),
    "destination.leave": (_O.REHEARSED, _O.REHEARSED),
}

# What comes of a process that is stopped at this point and goes on later, when the other side has decided.
STOPPED: dict[str, tuple[Outcome, Outcome]] = {
    "source.send_welcome": (_O.UNDONE, _O.UNDONE),
    "source.send_refused": (_O.UNDONE, _O.UNDONE),
    "source.send_resources": (_O.UNDONE, _O.UNDONE),
    "source.copy_round": (_O.UNDONE, _O.UNDONE),
    "source.freeze": (_O.UNDONE, _O.UNDONE),
    "source.put_byte": (_O.UNDONE, _O.UNDONE),
    "source.send_final": (_O.UNDONE, _O.MOVED),
    "source.take_back": (_O.UNDONE, _O.UNDONE),
    "source.put_abort": (_O.REHEARSED, _O.REHEARSED),
    "source.thaw": (_O.UNDONE, _O.UNDONE),
    "source.end_destination": (_O.REHEARSED, _O.REHEARSED),
    "source.retire": (_O.MOVED, _O.MOVED),
    "source.send_stragglers": (_O.MOVED, _O.MOVED),
    "source.send_bye": (_O.MOVED, _O.MOVED),
    "source.take_listeners": (_O.LISTENERS, _O.LISTENERS),
    "source.close": (_O.MOVED, _O.MOVED),
    "destination.close": (_O.MOVED, _O.MOVED),
    "destination.send_round_done": (_O.UNDONE, _O.UNDONE),
    "destination.send_prepared": (_O.UNDONE, _O.UNDONE),
    "destination.send_unable": (_O.UNDONE, _O.UNDONE),
    "destination.take_byte": (_O.UNDONE, _O.UNDONE),
    "destination.send_owned": (_O.UNDONE, _O.MOVED),
    "destination.start": (_O.MOVED, _O.MOVED),
    "destination.start_cold": (_O.LISTENERS, _O.LISTENERS),
    "destination.send_released": (_O.MOVED, _O.MOVED),
    "destination.leave": (_O.REHEARSED, _O.REHEARSED),
}

# A destination that hangs for ever: its source kills it while that is still a way back.
HUNG: dict[str, Outcome] = {
    f"destination.{action}.{when}": _O.UNDONE
    for action in ("send_round_done", "send_prepared", "take_byte", "send_unable")
    for when in ("before", "after")
} | {"destination.send_owned.before": _O.UNDONE}

# A bug: an exception inside an action.
BUGGY: dict[str, Outcome] = {
    f"{action}.{when}": _O.UNDONE
    for action in (
        "source.send_welcome",
        "source.send_resources",
        "source.copy_round",
        "source.freeze",
        "source.put_byte",
        "destination.send_round_done",
        "destination.send_prepared",
    )
    for when in ("before", "after")
} | {
    "source.send_final.before": _O.UNDONE,
    "source.send_final.after": _O.SETTLED,
    "source.retire.before": _O.MOVED,
    "source.retire.after": _O.MOVED,
    "source.send_stragglers.before": _O.MOVED,
    "source.send_bye.before": _O.MOVED,
    "source.close.before": _O.MOVED,
    "destination.take_byte.before": _O.UNDONE,
    "destination.send_owned.before": _O.UNDONE,
    "destination.send_owned.after": _O.MOVED,
    "destination.send_released.before": _O.MOVED,
}

# A message whose bits were flipped on the way; where it is the last one before the commit, the attempt fails.
GARBLED: dict[str, Outcome] = {
    "source.send_welcome.before": _O.UNDONE,
    "source.send_resources.before": _O.UNDONE,
    "source.copy_round.before": _O.UNDONE,
    "source.send_final.before": _O.UNDONE,
    "source.send_bye.before": _O.MOVED,
    "destination.send_round_done.before": _O.UNDONE,
    "destination.send_prepared.before": _O.SETTLED,
    "destination.send_unable.before": _O.UNDONE,
    "destination.send_owned.before": _O.MOVED,
    "destination.send_released.before": _O.MOVED,
}


def verify_losses(outcome: Outcome, load: Load, upstreams: Upstreams, wrong_before: int) -> None:
    """Never a wrong byte, `wrong_before` of the upstreams' apart; other losses only where the table allows them."""
    report = load.report()
    assert report.of_cause("corrupt", "silent", "other") == []
    wrong = upstreams.record().wrong[wrong_before:]
    assert wrong == [], wrong
    if outcome.keeps:
        assert report.failures == []
    if outcome is Outcome.LISTENERS:
        assert report.of_cause("refused") == []


def action_of(point: str) -> str:
    """`source.freeze` of `source.freeze.before`."""
    return point.rpartition(".")[0]


def way_to(point: str) -> Way:
    """How an attempt comes to pass this point."""
    return WAYS.get(action_of(point), USUAL)


def outcome_of(table: dict[str, tuple[Outcome, Outcome]], point: str) -> Outcome:
    """The row of a point."""
    return table[action_of(point)][point.endswith(".after")]
