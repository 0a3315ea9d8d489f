from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest

from vm_agent.errors import SpecError
from vm_agent.spec.edit import with_release
from vm_agent.spec.model import Spec

SPEC = Spec(name="edge", release="1.4.2", config="/etc/edge.yaml")


def spec_of(file: Path, text: str) -> Spec:
    file.write_text(text)
    return msgspec.structs.replace(SPEC, file=str(file))


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("name: edge\nrelease: 1.4.2\n", 'name: edge\nrelease: "1.5.0"\n'),
        ("release:   '1.4.2'  # why\nname: edge\n", 'release:   "1.5.0"  # why\nname: edge\n'),
        ('# release: 1\nrelease: "1.4.2"', '# release: 1\nrelease: "1.5.0"'),
    ],
)
def test_only_the_release_changes(text: str, changed: str, tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "edge.yaml", text)
    with_release(spec, "1.5.0")
    assert Path(spec.file).read_text() == changed
    assert os.listdir(tmp_path) == ["edge.yaml"]  # noqa: PTH208


def test_the_mode_stays(tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "edge.yaml", "release: 1\n")
    Path(spec.file).chmod(0o640)
    with_release(spec, "2")
    assert stat.S_IMODE(Path(spec.file).stat().st_mode) == 0o640


@pytest.mark.parametrize("text", ["name: edge\n", "release: 1\nrelease: 2\n", "{name: edge, release: 1}\n"])
def test_a_file_of_another_shape_is_left_to_its_author(text: str, tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "edge.yaml", text)
    with pytest.raises(SpecError, match="edit the file"):
        with_release(spec, "1.5.0")
    assert Path(spec.file).read_text() == text


@pytest.mark.parametrize("release", ["", "../1", "a b", "-1", ".1", "1\n2", "x" * 65])
def test_what_is_no_release_is_refused(release: str, tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "edge.yaml", "release: 1\n")
    with pytest.raises(SpecError, match="no release"):
        with_release(spec, release)
    assert Path(spec.file).read_text() == "release: 1\n"


@pytest.mark.parametrize("text", ["release: &it 1.4.2\nname: edge\n", "release: !!str 1.4.2\nname: edge\n"])
def test_what_would_be_broken_by_it_is_left_to_its_author(text: str, tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "edge.yaml", text)
    with pytest.raises(SpecError, match="edit the file"):
        with_release(spec, "1.5.0")
    assert Path(spec.file).read_text() == text


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").symlink_to("there.yaml")
    spec = spec_of(tmp_path / "edge.yaml", "name: edge\nrelease: 1.4.2\n")
    with_release(spec, "1.5.0")
    assert Path(spec.file).is_symlink()
    assert (tmp_path / "there.yaml").read_text() == 'name: edge\nrelease: "1.5.0"\n'
