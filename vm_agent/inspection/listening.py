"""Listeners: there, the sidecar's own, not overflowing, held against a crash; and the rules that lead to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hotswap.address import Address
from hotswap.control_client import CONTROL_SOCKET
from hotswap.errors import ConfigError, HotswapError
from vm_agent.inspection.findings import Finding, Severity, What
from vm_agent.inspection.subject import Subject
from vm_agent.network import interception
from vm_agent.network.listening import Kind

if TYPE_CHECKING:
    from vm_agent.network import listening
    from vm_agent.network.sockets import Watch

KINDS: Final[dict[Kind, tuple[Severity, What]]] = {
    "absent": ("error", "listener"),
    "foreign": ("error", "listener"),
    "rival": ("warning", "listener"),
    "shared": ("warning", "listener"),
    "unseen": ("notice", "listener"),
    "queue": ("warning", "accept_queue"),
    "overflow": ("warning", "accept_queue"),
}


def promised(one: Subject) -> tuple[str, ...]:
    """The addresses that it says it listens at, canonical; ports that the kernel chose are not known."""
    found = []
    for listener in one.told.listeners if one.told is not None else ():
        try:
            address = Address.parse(listener.address)
        except ConfigError:
            continue
        if address.port or str(address).startswith("unix:"):
            found.append(str(address))
    return tuple(dict.fromkeys(found))


def look(one: Subject, watch: Watch, known: Iterable[int]) -> tuple[listening.Finding, ...]:
    """What the kernel says. `known`: other generations. Raises `HotswapError`."""
    return watch.check(promised(one), one.pid, frozenset(known) - {one.pid}, everybody=True)


def judge(one: Subject, seen: Iterable[listening.Finding]) -> Iterator[Finding]:
    """The same, as findings of a patrol."""
    for found in seen:
        severity, what = KINDS[found.kind]
        yield Finding(
            sidecar=one.name,
            severity=severity,
            what=what,
            place=found.address,
            text=f"{found.address}: {found.text}",
            remedy=found.remedy,
        )


def judge_held(one: Subject, kind: str, runtime_dir: Path) -> Iterator[Finding]:
    """Whether the runner has a copy of each. `kind`: of the runner; systemd tells only how many."""
    running, wanted = one.running, promised(one)
    if running is None or not one.rests or not running.ready or not wanted:
        return
    socket = runtime_dir / one.name / CONTROL_SOCKET
    announce = f"curl -X POST --unix-socket {socket} http://hotswap/announce: it hands them over once more"
    if kind == "systemd":
        count = running.kept
        if count < len(wanted):
            yield Finding(
                sidecar=one.name,
                severity="warning",
                what="not_held",
                text=f"systemd holds {count} descriptors for {len(wanted)} listeners: a crash would refuse clients",
                remedy=announce,
            )
        return
    for address in wanted:
        if address not in running.held:
            yield Finding(
                sidecar=one.name,
                severity="warning",
                what="not_held",
                place=address,
                text=f"nobody holds {address} for it: a crash would refuse clients until it is started anew",
                remedy=announce,
            )


def led(one: Subject) -> tuple[str, str] | None:
    """What is wrong with its interception rules, and the remedy; None: nothing, or it wants none. Blocks."""
    if one.spec is None or not one.spec.intercept:
        return None
    try:
        if interception.present(interception.plan(one.spec), one.pid):
            return None
    except HotswapError as error:
        return f"its rules cannot be looked at: {error}", "mend that, and look again: hotswap-agent inspect"
    text = "its rules are missing, or somebody changed them: traffic passes it by"
    why = f"if they are not, `trouble` in 'hotswap-agent history {one.name}' says why"
    return text, f"the agent puts them back within a minute; {why}"


def judge_led(one: Subject, wrong: tuple[str, str] | None) -> Iterator[Finding]:
    """The same, as a finding."""
    if wrong is not None and one.rests:
        text, remedy = wrong
        yield Finding(sidecar=one.name, severity="error", what="interception", text=text, remedy=remedy)
