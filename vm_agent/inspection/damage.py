"""Whether releases are as they were installed: every file of those that somebody uses is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from vm_agent.inspection.findings import Finding
from vm_agent.inspection.subject import Subject

if TYPE_CHECKING:
    from vm_agent.releases.store import Releases

_SHOWN = 3


def used(subjects: Iterable[Subject]) -> dict[str, list[str]]:
    """Versions, each with the sidecars that run it, or would after a crash or on the way back."""
    found: dict[str, list[str]] = {}
    for one in subjects:
        for version in sorted({one.serving, one.current or "", one.previous} - {""}):
            found.setdefault(version, []).append(one.name)
    return found


def look(version: str, releases: Releases) -> list[str] | None:
    """What is wrong with it; None: it is not installed."""
    release = releases.get(version)
    return None if release is None else releases.verify(release)


def judge(version: str, wrong: list[str] | None, subjects: Iterable[Subject], place: str) -> Iterator[Finding]:
    """`place`: the release's directory."""
    there = [*subjects]
    starts = sorted(one.name for one in there if version in {one.serving, one.current})
    if wrong is None:
        for one in there:
            if one.current == version:
                yield Finding(
                    sidecar=one.name,
                    severity="error",
                    what="release_damaged",
                    place=version,
                    text=f"release {version} is not in {place} any more: a crash could not be started anew",
                    remedy=f"put it back into the source directory, or another release into the spec, then "
                    f"hotswap-agent upgrade {one.name}",
                )
        return
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        whose = f"; used by {', '.join(starts)}" if starts else ""
        yield Finding(
            severity="error" if starts else "warning",
            what="release_damaged",
            place=version,
            text=f"release {version} is not as it was installed: {'; '.join(wrong[:_SHOWN])}{more}{whose}",
            remedy="install it under another version, and upgrade to that"
            if starts
            else f"rm -r {place}; it is installed anew when it is needed",
        )


def by_version(subjects: Iterable[Subject]) -> Mapping[str, list[Subject]]:
    """The sidecars that use each version."""
    there = {one.name: one for one in subjects}
    return {version: [there[name] for name in names] for version, names in used(there.values()).items()}
