"""What can go wrong with the agent: more branches of the one tree of errors (see `hotswap.errors`).

HotswapError
|-- SpecError                   21   a spec file, or the agent's settings, cannot be used; file, line and key
|-- ReleaseError                22   a release is missing, damaged, or cannot be installed; nothing was changed
|-- StartFailed                 23   a sidecar could not be started, or ended before it was ready
|-- UnknownSidecar              24   there is no sidecar of this name
|-- NotPossible                 25   not in the state it is in: paused, upgrading, nothing to go back to
|-- AgentNotRunning             26   nobody answers on the agent's socket
`-- InterceptionFailed          27   the kernel refused a rule; those that were there before are untouched
"""

from __future__ import annotations

from hotswap.errors import HotswapError


class SpecError(HotswapError):
    """A spec that cannot be used; the text has a line for each problem, with file, line, key and remedy."""

    exit_code = 21


class ReleaseError(HotswapError):
    """A release cannot be installed. What was installed before is as it was."""

    exit_code = 22


class StartFailed(HotswapError):
    """A sidecar could not be started, or ended before it was ready."""

    exit_code = 23


class UnknownSidecar(HotswapError):
    """There is no spec, and no process, of this name."""

    exit_code = 24


class NotPossible(HotswapError):
    """The order makes no sense in the state that the sidecar is in."""

    exit_code = 25


class AgentNotRunning(HotswapError):
    """Nobody answers on the agent's socket."""

    exit_code = 26


class InterceptionFailed(HotswapError):
    """The kernel refused a rule or a route."""

    exit_code = 27
