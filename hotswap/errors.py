"""Everything that can go wrong, as one tree, each kind with the exit code of the command that meets it.

    HotswapError                     1   anything not named below
    |-- UsageError                   2   bad arguments (the code click uses too)
    |   `-- NobodyStandsBy           2   the generation before ran in another container, and is not there (yet)
    |-- ConfigError                  3   the configuration is wrong; the message names file, line and key
    |-- NotRunning                   4   nobody answers under this name
    |-- AlreadyRunning               5   the name is served and --takeover=never
    |-- OwnerHung                    6   the lock is held and the holder does not answer
    |-- PermissionDenied             7   runtime directory, socket or peer credentials
    |-- BindFailed                   8   a listener's address cannot be bound
    |-- AttemptFailed               10   an upgrade failed, the source serves on
    |   |-- Refused                 11   the source refused the destination: versions, schemas
    |   |   `-- Draining            28   the source is on its way out: there is nothing to take over any more
    |   |-- Busy                    12   another attempt is under way
    |   |-- Superseded              13   this build was superseded by the one that serves
    |   |-- DestinationFailed       14   the new generation ended or could not restore everything
    |   |-- DeadlinePassed          15   the attempt took too long and was taken back
    |   `-- LeftBehind              16   --require-all, and something cannot move
    |-- SourceHung                  17   the source stopped before it gave anything away
    |-- ConnectionsLost             18   a generation died in the middle; listeners serve on, connections are gone
    |-- ProtocolError               19   the other side broke the handover protocol
    `-- RolledBack                  20   the new generation owned, did not pass its bake, and was taken back

Exit code 0 of ``hotswap upgrade`` means one thing: the new generation owns.
"""

from __future__ import annotations

from typing import ClassVar


class HotswapError(Exception):
    """Base of all errors of this project; ``exit_code`` is what a command exits with."""

    exit_code: ClassVar[int] = 1


class UsageError(HotswapError):
    """Arguments that make no sense together."""

    exit_code = 2


class NobodyStandsBy(UsageError):
    """The generation before ran in another container, and is not there, or not yet."""


class ConfigError(HotswapError):
    """A configuration that cannot be used; the text names file, line, key and the remedy."""

    exit_code = 3


class NotRunning(HotswapError):
    """No generation answers under this name."""

    exit_code = 4


class AlreadyRunning(HotswapError):
    """A generation serves this name, and taking over was not allowed."""

    exit_code = 5


class OwnerHung(HotswapError):
    """The lock is held, but its holder does not answer."""

    exit_code = 6


class PermissionDenied(HotswapError):
    """The runtime directory, a socket or a peer's credentials do not permit this."""

    exit_code = 7


class BindFailed(HotswapError):
    """A listener's address cannot be bound."""

    exit_code = 8


class AttemptFailed(HotswapError):
    """An upgrade attempt failed and the source serves on."""

    exit_code = 10


class Refused(AttemptFailed):
    """The source refused the destination before anything moved."""

    exit_code = 11


class Draining(Refused):
    """The source ends by itself, and has closed its listeners; a cold start follows."""

    exit_code = 28


class Busy(AttemptFailed):
    """Another attempt is under way."""

    exit_code = 12


class Superseded(AttemptFailed):
    """This build was replaced by the one that serves; it does not take over again by itself."""

    exit_code = 13


class DestinationFailed(AttemptFailed):
    """The new generation ended, or could not restore what it was given."""

    exit_code = 14


class DeadlinePassed(AttemptFailed):
    """The attempt took longer than its deadline and was taken back."""

    exit_code = 15


class LeftBehind(AttemptFailed):
    """Something cannot move, and ``--require-all`` forbids leaving it behind."""

    exit_code = 16


class SourceHung(HotswapError):
    """The source stopped answering before it gave anything away."""

    exit_code = 17


class ConnectionsLost(HotswapError):
    """A generation died in the middle of a handover: listeners serve on, connections are gone."""

    exit_code = 18


class ProtocolError(HotswapError):
    """The other side of a handover sent what the protocol does not allow."""

    exit_code = 19


class RolledBack(HotswapError):
    """The new generation owned, was found worse than agreed while it baked, and gave everything back."""

    exit_code = 20


class CannotRestore(HotswapError):
    """A saved value has no place in this generation; the source keeps it and drains it."""


def error_of(exit_code: int, message: str) -> HotswapError:
    """The error kind that has this exit code; a plain `HotswapError` for unknown ones."""
    kinds: list[type[HotswapError]] = [HotswapError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
        if kind.exit_code == exit_code:
            return kind(message)
    return HotswapError(message)
