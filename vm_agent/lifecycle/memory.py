"""What the agent remembers of one sidecar, on disk: enough to finish or undo what was under way when it was killed.

``<state>/sidecars/<name>/memory.json``, written whole before every step is taken: beside it, flushed, renamed. A file
that cannot be read is set aside and counts as none; what serves is then found out from the process itself.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import msgspec

from hotswap.log import fields
from vm_agent.files import write_whole
from vm_agent.lifecycle.judge import Bake
from vm_agent.lifecycle.states import State
from vm_agent.spec.model import Spec

log = logging.getLogger("vm_agent")

FILE = "memory.json"
_LIMIT = 4 << 20  # bytes


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An upgrade under way, or a way back that was ordered by hand."""

    before: str
    """The release that served when it began."""
    after: str
    why: str
    began: float
    """Seconds since the epoch."""
    back: bool = False
    """Ordered as a way back: the release that is left is condemned, and nothing is baked."""
    restarts: int = 0
    """Of the runner, when it began: more of them mean that a process died."""
    bake: Bake | None = None
    """What it is judged by, from the handover on."""


class Condemned(msgspec.Struct, frozen=True):
    """A release that is not tried again for the same spec."""

    release: str
    digest: str
    """Of the spec that wanted it."""
    reason: str


class Memory(msgspec.Struct, kw_only=True):
    """Of one sidecar."""

    state: State = State.ABSENT
    operation: Operation | None = None
    spec: Spec | None = None
    """The last that could be read: a file that is broken when the agent begins does not end its sidecar."""
    condemned: Condemned | None = None
    proven: str = ""
    """The release that served last with the link leading to it."""
    previous: str = ""
    """The release to go back to."""
    paused: bool = False
    intercepted: bool = False
    """Rules of the kernel lead traffic to it."""
    config: str = ""
    """Digest of the configuration that was loaded, or refused, last."""

    @classmethod
    def load(cls, directory: Path) -> Memory:
        """What was remembered, or nothing."""
        file = directory / FILE
        try:
            with file.open("rb") as stream:
                return msgspec.json.decode(stream.read(_LIMIT), type=cls)
        except FileNotFoundError:
            return cls()
        except (OSError, msgspec.DecodeError) as error:
            log.error("cannot be read and is set aside", extra=fields(file=str(file), reason=str(error)))  # noqa: TRY400
            with contextlib.suppress(OSError):
                file.replace(file.with_suffix(".unreadable"))
            return cls()

    def save(self, directory: Path) -> None:
        """Write it down, whole or not at all. Raises OSError."""
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_whole(directory / FILE, msgspec.json.format(msgspec.json.encode(self), indent=1))

    @staticmethod
    def forget(directory: Path) -> None:
        """The sidecar is no more."""
        for name in (FILE, f".{FILE}.new"):
            (directory / name).unlink(missing_ok=True)
