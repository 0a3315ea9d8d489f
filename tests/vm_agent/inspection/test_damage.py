from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm_agent.inspection.subjects import brief, sound
from tests.vm_agent.releases import making
from vm_agent.inspection.damage import by_version, judge, look


@pytest.mark.parametrize(
    ("wrong", "changes", "found"),
    [
        ([], {}, []),
        (["changed"], {}, [("error", "release_damaged", "1.1.0")]),
        (["changed"], {"serving": "1.0.0", "current": "1.0.0"}, [("warning", "release_damaged", "1.1.0")]),
        (None, {}, [("error", "release_damaged", "1.1.0")]),
        (None, {"current": "1.0.0"}, []),
    ],
)
def test_damage_weighs_by_who_uses_the_release(
    wrong: list[str] | None, changes: dict[str, str], found: list[tuple[str, str, str]]
) -> None:
    assert brief(judge("1.1.0", wrong, [sound(**changes)], "/releases/1.1.0")) == found


def test_a_long_list_of_damage_is_cut_short() -> None:
    (found,) = judge("1.1.0", [f"file {number} is missing" for number in range(9)], [sound()], "/releases/1.1.0")
    assert "and 6 more" in found.text
    assert "used by edge" in found.text


def test_releases_that_run_that_crash_to_and_that_one_goes_back_to_are_looked_at() -> None:
    edge = sound(serving="2", current="1", previous="1")
    other = sound(name="other", serving="", current=None, previous="")
    third = sound(name="third", serving="2", current="2", previous="0")
    assert by_version([edge, other, third]) == {"1": [edge], "2": [edge, third], "0": [third]}


async def _installed(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    making.directory(source, "1.0.0")
    store = making.store(source, tmp_path / "state")
    return (await store.install("1.0.0")).path


def test_a_changed_file_of_a_real_release_is_found(tmp_path: Path) -> None:
    import asyncio

    path = asyncio.run(_installed(tmp_path))
    store = making.store(tmp_path / "source", tmp_path / "state")
    assert look("1.0.0", store) == []
    assert look("2.0.0", store) is None
    (path / "lib" / "code.py").write_text("VERSION = 'other'\n")
    wrong = look("1.0.0", store)
    assert wrong is not None
    assert "code.py was changed" in wrong[0]
