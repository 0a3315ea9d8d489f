from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from hotswap.points import Point, entry_points

GROUP = "acme.things"


def install(folder: Path, about: str, text: str) -> str:
    (folder / about).mkdir(parents=True)
    (folder / about / "entry_points.txt").write_text(text)
    return str(folder)


def test_those_of_a_group_are_found_and_no_others(tmp_path: Path) -> None:
    text = (
        f"[console_scripts]\nrun = a:run\n\n[{GROUP}]\n# a comment\none = a.b:c\ntwo=d:e.f [extra]\n[other]\nx = y:z\n"
    )
    path = [install(tmp_path, "acme-1.0.dist-info", text)]
    assert entry_points(GROUP, path=path) == [Point("one", "a.b:c"), Point("two", "d:e.f")]
    assert entry_points(GROUP, "two", path=path) == [Point("two", "d:e.f")]
    assert entry_points("none", path=path) == []


def test_of_two_distributions_of_one_name_the_first_on_the_path_counts(tmp_path: Path) -> None:
    path = [
        install(tmp_path / "1", "Acme.Things-2.0.dist-info", f"[{GROUP}]\none = new:x\n"),
        install(tmp_path / "2", "acme_things.egg-info", f"[{GROUP}]\none = old:x\n"),
    ]
    assert entry_points(GROUP, path=path) == [Point("one", "new:x")]


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "bare-1.dist-info").mkdir()
    (tmp_path / "file.egg-info").touch()
    (tmp_path / "archive.zip").touch()
    install(tmp_path, "latin-1.dist-info", "")
    (tmp_path / "latin-1.dist-info" / "entry_points.txt").write_bytes(b"[\xe4]\n")
    path = [
        str(tmp_path / "gone"),
        str(tmp_path / "archive.zip"),
        install(tmp_path, "a-1.dist-info", f"[{GROUP}]\na=b:c"),
    ]
    assert entry_points(GROUP, path=path) == [Point("a", "b:c")]


@pytest.mark.parametrize("group", ["hotswap.commands", "hotswap.checks", "pytest11"])
def test_it_finds_what_the_standard_library_finds(group: str) -> None:
    theirs = {(point.name, point.value) for point in metadata.entry_points(group=group)}
    assert {tuple(point) for point in entry_points(group)} == theirs


def test_loading_gives_the_attribute(tmp_path: Path) -> None:
    assert Point("join", "os:path.join").load() is __import__("os").path.join
    assert Point("module", "os.path").load() is __import__("os").path
    with pytest.raises(ModuleNotFoundError):
        Point("gone", "no_such_package:x").load()
    with pytest.raises(AttributeError):
        Point("gone", "os:no_such_name").load()
