"""How sidecars are, as the agent knows it already: specs that cannot be used, waiting, paused, condemned, silent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vm_agent.inspection.findings import Finding
from vm_agent.inspection.subject import Subject
from vm_agent.lifecycle.states import State


def broken(specs: Mapping[str, Exception]) -> Iterator[Finding]:
    """Files that cannot be used, with what is wrong."""
    for file, error in sorted(specs.items()):
        yield Finding(
            severity="error",
            what="broken_spec",
            place=file,
            text=f"{error}; its sidecar goes on as the file was before",
            remedy=f"correct {file}; it is read as soon as it changes",
        )


def judge(one: Subject) -> Iterator[Finding]:
    """Of one sidecar."""
    again = f"hotswap-agent upgrade {one.name}"
    stuck = one.condemned is not None and one.condemned.release == one.serving and bool(one.serving)
    if one.condemned is not None and stuck:
        yield Finding(
            sidecar=one.name,
            severity="error",
            what="cannot_take_back",
            text=(
                f"release {one.serving} serves although it was condemned: {one.condemned.reason}; a crash starts "
                f"release {one.current or 'none'}"
            ),
            remedy=(
                f"see why in 'hotswap-agent history {one.name}', then upgrade to a release that works: write it into "
                f"{_file(one)}, or 'hotswap-agent rollback {one.name}'"
            ),
        )
    elif one.condemned is not None and one.spec is not None and one.spec.release == one.condemned.release:
        yield Finding(
            sidecar=one.name,
            severity="warning",
            what="condemned",
            place=one.condemned.release,
            text=f"release {one.condemned.release} is not tried again: {one.condemned.reason}",
            remedy=f"write another release into {_file(one)}; to try this one again all the same: {again}",
        )
    if one.paused:
        yield Finding(
            sidecar=one.name,
            severity="notice",
            what="paused",
            text="no upgrade and no changed configuration is taken by itself",
            remedy=f"hotswap-agent resume {one.name}",
        )
    if one.state is State.WAITING:
        yield Finding(
            sidecar=one.name,
            severity="error",
            what="waits",
            text=f"it cannot be started, nothing serves: {one.waits or 'the reason is in its history'}",
            remedy=f"mend that; it is tried again by itself, at once after a change of {_file(one)}",
        )
    elif one.waits and not one.paused and one.condemned is None:
        yield Finding(
            sidecar=one.name,
            severity="notice",
            what="waits",
            text=one.waits,
            remedy=f"wait, or do it now: {again}",
        )
    if one.silence and one.state in {State.SERVING, State.BAKING}:
        yield Finding(
            sidecar=one.name,
            severity="error",
            what="no_answer",
            text=one.silence,
            remedy=f"hotswap status {one.name}; what hangs is killed and started anew by its health checks",
        )


def _file(one: Subject) -> str:
    return one.spec.file if one.spec is not None and one.spec.file else "its spec"
