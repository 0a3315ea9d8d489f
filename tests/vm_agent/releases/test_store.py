from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm_agent.releases import making
from tests.vm_agent.releases.making import install, left
from vm_agent.errors import ReleaseError
from vm_agent.releases.store import Releases


@pytest.fixture
def full(source: Path, tmp_path: Path) -> Releases:
    """Five releases, installed in another order than that of their names."""
    store = making.store(source, tmp_path / "state", keep=2)
    for version in ("5.0", "1.0", "2.0", "4.0", "3.0"):
        making.directory(source, version)
        install(store, version)
    return store


def test_without_anything_installed_there_is_nothing(store: Releases) -> None:
    assert store.installed() == []
    assert store.get("1.0") is None
    assert store.current("edge") is None
    assert store.prune([]) == []
    assert not store.root.exists()


def test_releases_are_listed_in_the_order_of_their_installation(full: Releases) -> None:
    assert [release.version for release in full.installed()] == ["5.0", "1.0", "2.0", "4.0", "3.0"]


def test_the_link_of_a_sidecar_is_relative_and_moves_at_once(full: Releases) -> None:
    full.point("edge", "1.0")
    link = full.link("edge")
    assert link == full.root / "sidecars" / "edge" / "current"
    assert str(link.readlink()) == "../../releases/1.0"
    assert (link / "bin" / "hotswap").exists()
    seen = link.lstat().st_ino
    full.point("edge", "1.0")
    assert link.lstat().st_ino == seen
    full.point("edge", "2.0")
    assert full.current("edge") == "2.0"
    assert [path.name for path in link.parent.iterdir()] == ["current"]


def test_what_a_crash_left_of_a_link_is_in_nobodys_way(full: Releases) -> None:
    full.point("edge", "1.0")
    (full.link("edge").parent / ".current.new").symlink_to("anything")
    full.point("edge", "2.0")
    assert full.current("edge") == "2.0"


def test_a_link_leads_only_to_what_is_installed(full: Releases) -> None:
    full.point("edge", "1.0")
    (full.directory / "7.0").mkdir()
    for version in ("6.0", "7.0"):
        with pytest.raises(ReleaseError, match="it is not installed"):
            full.point("edge", version)
    assert full.current("edge") == "1.0"


def test_a_link_of_somebody_elses_is_none_and_gets_replaced(full: Releases) -> None:
    link = full.link("edge")
    link.parent.mkdir(parents=True)
    link.symlink_to("/somewhere/releases/1.0")
    assert full.current("edge") is None
    full.point("edge", "1.0")
    assert full.current("edge") == "1.0"


def test_a_directory_in_the_place_of_a_link_is_refused(full: Releases) -> None:
    full.link("edge").mkdir(parents=True)
    with pytest.raises(ReleaseError, match=r"cannot lead to release 1\.0: .*current.*directory"):
        full.point("edge", "1.0")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../edge", ".hidden", "-x", "a b"])
def test_what_could_lead_elsewhere_is_no_name(store: Releases, name: str) -> None:
    with pytest.raises(ReleaseError, match="is no name"):
        store.link(name)


def test_what_is_used_or_linked_or_recent_stays(full: Releases) -> None:
    full.point("edge", "5.0")
    assert full.prune(["1.0"]) == ["2.0"]
    assert left(full) == ["1.0", "3.0", "4.0", "5.0"]
    assert full.prune(["1.0"]) == []


def test_a_link_to_what_is_gone_protects_nothing(full: Releases) -> None:
    (full.root / "sidecars").mkdir()
    (full.root / "sidecars" / "notes.txt").touch()
    full.link("edge").parent.mkdir()
    full.link("edge").symlink_to("../../releases/0.1")
    assert full.prune([]) == ["5.0", "1.0", "2.0"]


def test_none_need_be_kept(full: Releases, source: Path) -> None:
    assert making.store(source, full.root, keep=0).prune(["4.0"]) == ["5.0", "1.0", "2.0", "3.0"]
    assert left(full) == ["4.0"]


def test_pruning_removes_what_crashes_left(full: Releases) -> None:
    for name in (".incoming.0123", ".removing.0123", "7.0"):
        (full.directory / name / "lib").mkdir(parents=True)
    full.prune(["1.0", "2.0", "5.0"])
    assert left(full) == ["1.0", "2.0", "3.0", "4.0", "5.0"]


def test_the_patrol_finds_every_kind_of_change(full: Releases) -> None:
    for version in ("1.0", "2.0", "3.0", "4.0", "5.0"):
        release = full.get(version)
        assert release is not None
        assert full.verify(release) == []
    release = full.get("1.0")
    assert release is not None
    code, program = release.path / "lib" / "code.py", release.path / "bin" / "hotswap"
    (release.path / "lib" / "__pycache__").mkdir()
    (release.path / "lib" / "__pycache__" / "code.pyc").touch()  # what an interpreter does
    assert full.verify(release) == []

    code.write_text("VERSION = '9.9'\n")
    program.chmod(0o777)
    (release.path / "lib" / "extra.py").touch()
    found = "\n".join(full.verify(release))
    assert f"{code} was changed: expected sha256 " in found
    assert f"{program} has mode 0777 instead of 0755" in found
    assert f"{release.path / 'lib' / 'extra.py'} was not installed with it" in found

    program.unlink()
    code.unlink()
    code.symlink_to("/etc/passwd")
    found = "\n".join(full.verify(release))
    assert f"{program} is missing" in found
    assert f"{code} led to itself, now to /etc/passwd" in found

    (release.path / ".hotswap-files.json").write_text("[]")
    assert full.verify(release) == [f"{release.path / '.hotswap-files.json'} was changed after the installation"]
    (release.path / ".hotswap-files.json").unlink()
    assert full.verify(release) == [f"{release.path / '.hotswap-files.json'}: No such file or directory"]


def test_many_changes_are_cut_to_a_few_lines(full: Releases) -> None:
    release = full.get("1.0")
    assert release is not None
    for number in range(50):
        (release.path / str(number)).touch()
    assert len(full.verify(release)) == 21


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', "\xff"])
def test_a_damaged_record_is_no_release_and_removes_nothing(full: Releases, text: str) -> None:
    record = full.directory / "1.0" / ".hotswap-release.json"
    record.write_bytes(text.encode("latin-1"))
    assert full.get("1.0") is None
    assert "1.0" not in full.prune([])
    assert "1.0" in left(full)


def test_a_record_speaks_for_its_own_directory_alone(full: Releases) -> None:
    (full.directory / "1.0").rename(full.directory / "1.1")
    assert full.get("1.1") is None
    assert [release.version for release in full.installed()] == ["5.0", "2.0", "4.0", "3.0"]


def test_the_lock_is_for_the_agent_alone(full: Releases) -> None:
    assert (full.directory / "lock").stat().st_mode & 0o777 == 0o600
