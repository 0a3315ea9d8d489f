"""Whether a sidecar listens where it promised to: what was seen, as values, and the judgement. Does no I/O.

A listener may be open in more processes than one. The agent, or PID 1, keeps a copy for the time after a crash; in a
handover both generations have it, and one started the other. None of these is a finding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

FULL: Final = 0.8
"""Share of its backlog from which an accept queue is a finding."""

_MORE: Final = "allow more by net.core.somaxconn and the listener's backlog"

Kind = Literal["absent", "foreign", "rival", "shared", "unseen", "queue", "overflow"]


@dataclass(frozen=True)
class Listener:
    """A listening socket."""

    address: str
    """As hotswap writes addresses; canonical."""
    inode: int
    cookie: int
    """No other socket gets the same number until the machine is started anew."""
    queued: int
    """Connections that are established and not accepted."""
    backlog: int
    """How many may be: listen(2), net.core.somaxconn."""
    dual: bool = False
    """It is at ``[::]`` and takes connections of IPv4 as well."""
    drops: int | None = None
    """Connection attempts that were dropped since it listens; None: the kernel does not tell, or it is no TCP."""


@dataclass(frozen=True, order=True)
class Holder:
    """A descriptor of a process."""

    pid: int
    fd: int
    name: str = ""
    """Of the program: /proc/pid/comm."""
    ancestor: int = 0
    """The process that started it, or looks after it since."""


@dataclass(frozen=True)
class Look:
    """What was there, in one network namespace, at one time."""

    listeners: tuple[Listener, ...] = ()
    holders: tuple[tuple[int, tuple[Holder, ...]], ...] = ()
    """By inode, as far as it was looked for."""
    unseen: tuple[int, ...] = ()
    """Processes whose descriptors may not be looked at."""
    overflows: int = 0
    """ListenOverflows of the whole namespace: netstat of proc_net(5)."""
    started_by: int = 0
    """The process that started the sidecar's."""

    def held(self, inode: int) -> tuple[Holder, ...]:
        """Who has it open."""
        return dict(self.holders).get(inode, ())


@dataclass(frozen=True)
class Finding:
    """Something that is not as promised."""

    kind: Kind
    address: str
    text: str
    """What is there."""
    remedy: str

    def __str__(self) -> str:
        return f"{self.address}: {self.text}; {self.remedy}"


@dataclass(frozen=True)
class Expected:
    """Of one sidecar."""

    addresses: tuple[str, ...]
    pid: int
    """Its main process; 0: it died and is about to be started anew."""
    keepers: frozenset[int] = field(default_factory=frozenset)
    """Who has a copy by right: the agent, PID 1, generations that are known."""


def judge(expected: Expected, now: Look, before: Look | None = None) -> tuple[Finding, ...]:
    """What is wrong. Without a look `before`, nothing is said of overflows: only differences tell."""
    return tuple(found for address in expected.addresses for found in _judge_one(address, expected, now, before))


def _judge_one(address: str, expected: Expected, now: Look, before: Look | None) -> Iterator[Finding]:
    there = [one for one in now.listeners if one.address == address]
    if not there:
        yield Finding("absent", address, "nobody listens there", "reload the sidecar, or see its log for the reason")
        return
    keepers = expected.keepers
    if expected.pid:
        mine = [one for one in there if any(holder.pid == expected.pid for holder in now.held(one.inode))]
    else:
        mine = [one for one in there if any(holder.pid in keepers for holder in now.held(one.inode))]
    if not mine and expected.pid in now.unseen:
        text = f"whose it is cannot be seen: the descriptors of process {expected.pid} may not be looked at"
        yield Finding("unseen", address, text, "give the agent CAP_SYS_PTRACE")
        mine = there
    elif not mine:
        text = f"it does not belong to process {expected.pid or 'of the sidecar'} but to {_names(there, now)}"
        yield Finding("foreign", address, text, "end whoever listens there, then reload the sidecar")
        return
    rivals = [one for one in there if one not in mine]
    if rivals:
        text = f"{_names(rivals, now)} takes a share of its connections (SO_REUSEPORT)"
        yield Finding("rival", address, text, "end it, or give it another port")
    for one in mine:
        strangers = [holder for holder in now.held(one.inode) if not _by_right(holder, expected, now)]
        if strangers and expected.pid:
            text = f"{_list(strangers)} has it open too and can take connections away"
            yield Finding("shared", address, text, "end it, if it is no generation of the sidecar")
        yield from _queue(one, now, before)


def _by_right(holder: Holder, expected: Expected, now: Look) -> bool:
    return (
        holder.pid == expected.pid
        or holder.pid in expected.keepers
        or holder.ancestor == expected.pid
        or holder.pid == now.started_by
    )


def _queue(listener: Listener, now: Look, before: Look | None) -> Iterator[Finding]:
    if listener.queued > FULL * listener.backlog:
        text = f"{listener.queued} connections wait to be accepted, of {listener.backlog} that may"
        yield Finding("queue", listener.address, text, f"it is too slow, or it hangs: see its load; {_MORE}")
    dropped = _dropped(listener, now, before)
    if dropped:
        yield Finding("overflow", listener.address, dropped, f"see why it accepts too slowly; {_MORE}")


def _dropped(listener: Listener, now: Look, before: Look | None) -> str:
    if before is None or listener.address.startswith("unix:"):
        return ""
    if listener.drops is not None:
        past = next((one.drops for one in before.listeners if one.cookie == listener.cookie), 0) or 0
        count = (listener.drops - past) % 2**32
        words = f"its accept queue overflowed: {count} attempts to connect were dropped since the last look"
        return words if count else ""
    count = now.overflows - before.overflows
    if count <= 0:
        return ""
    return f"accept queues overflowed {count} times since the last look; the kernel does not tell whose"


def _names(listeners: Collection[Listener], look: Look) -> str:
    holders = [holder for one in listeners for holder in look.held(one.inode)]
    return _list(holders) if holders else "a process that cannot be seen"


def _list(holders: Collection[Holder]) -> str:
    return " and ".join(sorted({f"process {one.pid}" + (f" ({one.name})" if one.name else "") for one in holders}))
