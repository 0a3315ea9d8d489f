"""A directory of specs: what is read, what is not, and what is wrong with whom."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.vm_agent.spec.test_loader import SHORT, put
from vm_agent.errors import SpecError
from vm_agent.spec import loader
from vm_agent.spec.loader import load_specs


def named(name: str) -> str:
    return SHORT.replace("edge", name)


def told(directory: Path) -> dict[str, str]:
    """What is wrong, by names of files."""
    return {Path(file).name: str(error).removeprefix(file) for file, error in load_specs(directory)[1].items()}


def test_good_ones_by_name_and_bad_ones_by_file(tmp_path: Path) -> None:
    put(tmp_path / "one.yaml", named("a"))
    put(tmp_path / "two.yaml", named("b"))
    put(tmp_path / "three.yaml", "name: c\n")
    specs, errors = load_specs(tmp_path)
    assert {name: spec.file for name, spec in specs.items()} == {
        "a": str(tmp_path / "one.yaml"),
        "b": str(tmp_path / "two.yaml"),
    }
    assert [*errors] == [str(tmp_path / "three.yaml")]
    assert errors[str(tmp_path / "three.yaml")].exit_code == 21


def test_hidden_files_other_files_and_directories_inside_are_no_specs(tmp_path: Path) -> None:
    for name in (".a.yaml", "a.yaml~", "a.yml", "README", ".a.yaml.new"):
        put(tmp_path / name, "nonsense")
    (tmp_path / "more").mkdir()
    put(tmp_path / "more" / "a.yaml", SHORT)
    assert load_specs(tmp_path) == ({}, {})


def test_same_name_twice_is_wrong_in_both(tmp_path: Path) -> None:
    put(tmp_path / "one.yaml", named("a"))
    put(tmp_path / "other.yaml", "# comment\n" + named("a"))
    put(tmp_path / "two.yaml", named("b"))
    assert [*load_specs(tmp_path)[0]] == ["b"]
    assert told(tmp_path) == {
        "one.yaml": ":1: name: 'a' is the name in other.yaml as well; give each sidecar a name of its own",
        "other.yaml": ":2: name: 'a' is the name in one.yaml as well; give each sidecar a name of its own",
    }


def test_configuration_beside_its_spec_is_no_spec(tmp_path: Path) -> None:
    put(tmp_path / "sidecar.yaml", SHORT)
    put(tmp_path / "edge.yaml", "name: edge\nlisteners: []\n")
    put(tmp_path / "other.yaml", "name: edge\nlisteners: []\n")
    specs, errors = load_specs(tmp_path)
    assert [*specs] == ["edge"]
    assert [*errors] == [str(tmp_path / "other.yaml")]


def test_what_cannot_be_read_is_an_error_of_its_own(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "gone.yaml").symlink_to("nowhere")
    put(tmp_path / "binary.yaml", "").write_bytes(b"\xff\xfe")
    put(tmp_path / "large.yaml", "#" * (loader.MOST_BYTES + 1))
    put(tmp_path / "good.yaml", SHORT)
    assert [*load_specs(tmp_path)[0]] == ["edge"]
    assert told(tmp_path) == {
        "fifo.yaml": ": is no regular file; put a spec here, or remove it",
        "gone.yaml": ": cannot be read: no such file or directory; correct where the link leads, or remove it",
        "binary.yaml": ":1: not UTF-8; save the file in that encoding",
        "large.yaml": ": larger than 64 KB; is this a spec?",
    }


def test_directory_that_is_not_there_says_nothing_of_any_spec(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="none: cannot be read: no such file or directory; make the directory, or set"):
        load_specs(tmp_path / "none")


def test_directory_that_everybody_may_write_into_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(SpecError, match="everybody may write into it, and what runs is said here; chmod o-w"):
        load_specs(tmp_path)


def test_too_many_files_are_not_read_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "MOST_FILES", 2)
    for name in "abc":
        put(tmp_path / f"{name}.yaml", named(name))
    with pytest.raises(SpecError, match="holds 3 specs; 2 at most, give the others another agent"):
        load_specs(tmp_path)
