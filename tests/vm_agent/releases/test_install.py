"""Directories: everything that has nothing to do with pip."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from pathlib import Path

import pytest

from tests.kit.offspring import Offspring, kill, run_state, wait_for_stop
from tests.kit.waiting import eventually
from tests.vm_agent.releases import making
from tests.vm_agent.releases.making import install, left
from vm_agent.errors import ReleaseError
from vm_agent.releases.store import Releases

PATIENCE = 20.0
POINTS = ["release.staged", "release.made", "release.unpacked", "release.recorded"]
HANGS = "#!/bin/sh\nsleep 1000 &\necho $! $$ > {file}.new\nmv {file}.new {file}\nwait\n"


def test_a_directory_becomes_a_release(source: Path, store: Releases) -> None:
    made = making.directory(source, "1.0")
    (made / "bin" / "again").symlink_to("hotswap")
    release = install(store, "1.0")
    assert release == store.get("1.0") == store.installed()[0]
    assert (release.version, release.kind, release.origin) == ("1.0", "directory", "hotswap-1.0")
    assert release.path == store.directory / "1.0"
    assert (release.path / "bin" / "hotswap").read_text() == (made / "bin" / "hotswap").read_text()
    assert store.verify(release) == []
    assert left(store) == ["1.0"]


def test_an_installed_release_is_used_as_it_is(source: Path, store: Releases) -> None:
    making.directory(source, "1.0")
    release = install(store, "1.0")
    making.sums(source, {"hotswap-1.0/bin/hotswap": "0" * 64})  # would not be installed now
    assert install(store, "1.0") == release
    with pytest.raises(ReleaseError, match=r"has no bin/other: bin has hotswap \(it is hotswap-1\.0\); correct"):
        install(store, "1.0", "bin/other")


def test_whoever_runs_a_sidecar_can_read_its_release_whatever_the_umask(source: Path, store: Releases) -> None:
    making.directory(source, "1.0")
    before = os.umask(0o077)
    try:
        release = install(store, "1.0")
    finally:
        os.umask(before)
    for path in (release.path, *release.path.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o055 >= 0o044, path
        assert not stat.S_IMODE(path.stat().st_mode) & 0o022, path


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("bin/other", "release 1.0 has no bin/other: bin has hotswap"),
        ("sbin/hotswap", "there is nothing in sbin"),
        ("lib/code.py", "lib/code.py of release 1.0 cannot be executed: chmod"),
        ("/bin/sh", "must be a path relative"),
        ("bin/../../sh", "must be a path relative"),
        ("", "must be a path relative"),
    ],
)
def test_a_release_without_its_program_is_not_installed(
    source: Path, store: Releases, program: str, message: str
) -> None:
    making.directory(source, "1.0")
    with pytest.raises(ReleaseError, match=message):
        install(store, "1.0", program)
    assert left(store) == []


def test_a_program_that_cannot_tell_its_version_is_not_installed(source: Path, store: Releases) -> None:
    making.directory(source, "1.0", text="#!/bin/sh\necho no such library >&2\nexit 3\n")
    making.directory(source, "2.0", text="#!/no/such/interpreter\n")
    with pytest.raises(ReleaseError, match=r"(?s)--version ended with 3; .*\n    no such library"):
        install(store, "1.0")
    with pytest.raises(ReleaseError, match=r"2\.0/bin/hotswap cannot be started: No such file"):
        install(store, "2.0")
    assert left(store) == []


def test_another_program_than_the_usual_one_is_not_run(source: Path, store: Releases, tmp_path: Path) -> None:
    making.directory(source, "1.0", text=f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
    (source / "hotswap-1.0" / "bin" / "hotswap").rename(source / "hotswap-1.0" / "bin" / "mine")
    assert install(store, "1.0", "bin/mine").version == "1.0"
    assert not (tmp_path / "ran").exists()


def test_a_release_that_was_copied_from_an_installed_one_is_refused(source: Path, store: Releases) -> None:
    (making.directory(source, "1.0") / ".hotswap-release.json").touch()
    with pytest.raises(ReleaseError, match=r"has a file \.hotswap-release\.json"):
        install(store, "1.0")


# -- checksums ----------------------------------------------------------------------------------


def test_every_file_of_a_directory_must_be_as_listed(source: Path, store: Releases) -> None:
    making.directory(source, "1.0")
    making.sums(source, {"hotswap-1.0/lib/code.py": "0" * 64})
    with pytest.raises(ReleaseError, match=r"hotswap-1\.0/lib/code\.py is not what SHA256SUMS says"):
        install(store, "1.0")
    making.sums(source, {"hotswap-1.0/lib/code.py": ""})
    with pytest.raises(ReleaseError, match=r"does not list hotswap-1\.0/lib/code\.py"):
        install(store, "1.0")
    making.sums(source, {"hotswap-1.0/lib/more.py": "0" * 64})
    with pytest.raises(ReleaseError, match=r"lib/more\.py is missing, and SHA256SUMS lists it"):
        install(store, "1.0")
    assert left(store) == []
    making.sums(source)
    assert install(store, "1.0").version == "1.0"


def test_a_listed_link_is_what_it_leads_to(source: Path, store: Releases) -> None:
    (making.directory(source, "1.0") / "bin" / "again").symlink_to("hotswap")
    making.sums(source)  # follows links, as sha256sum does
    assert "bin/again" in (source / "SHA256SUMS").read_text()
    assert install(store, "1.0").version == "1.0"


def test_checksums_can_be_required(source: Path, tmp_path: Path) -> None:
    making.directory(source, "1.0")
    strict = making.store(source, tmp_path / "strict", checksums="required")
    with pytest.raises(ReleaseError, match=r"SHA256SUMS is missing, and agent\.yaml says"):
        install(strict, "1.0")
    making.sums(source)
    assert install(strict, "1.0").version == "1.0"


def test_what_fails_its_checksum_never_runs(source: Path, store: Releases, tmp_path: Path) -> None:
    making.directory(source, "1.0", text=f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    making.sums(source, {"hotswap-1.0/lib/code.py": "0" * 64})
    with pytest.raises(ReleaseError):
        install(store, "1.0")
    assert not (tmp_path / "ran").exists()


# -- more than one, deadlines, crashes ----------------------------------------------------------


def test_two_at_once_install_it_once(source: Path, store: Releases, tmp_path: Path) -> None:
    making.directory(source, "1.0", text=f"#!/bin/sh\necho ran >> {tmp_path}/ran\n")

    async def both() -> None:
        one, two = await asyncio.gather(store.install("1.0"), store.install("1.0"))
        assert one == two

    asyncio.run(both())
    assert (tmp_path / "ran").read_text() == "ran\n"


@pytest.mark.parametrize("how", ["cancelled", "late"])
def test_who_does_not_wait_leaves_nothing_behind(source: Path, store: Releases, tmp_path: Path, how: str) -> None:
    file = tmp_path / "pids"
    making.directory(source, "1.0", text=HANGS.format(file=file))

    async def give_up() -> None:
        installing = asyncio.ensure_future(store.install("1.0", timeout=PATIENCE if how == "cancelled" else 0.5))
        if how == "cancelled":
            await asyncio.to_thread(lambda: eventually(file.exists, within=PATIENCE, what="the program runs"))
            installing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await installing
        else:
            with pytest.raises(ReleaseError, match=r"0\.5 s passed while installing; nothing was changed"):
                await installing

    asyncio.run(give_up())
    for pid in file.read_text().split() if file.exists() else []:
        eventually(lambda pid=pid: run_state(int(pid)) in "ZX-", within=PATIENCE, what="what it started ended")  # type: ignore[misc]
    assert left(store) == []


@pytest.mark.parametrize("point", POINTS)
def test_after_a_crash_anywhere_the_store_is_usable(
    source: Path, store: Releases, tmp_path: Path, offspring: Offspring, point: str
) -> None:
    making.directory(source, "0.9")
    making.directory(source, "1.0")
    before = install(store, "0.9")
    pid = making.start_installer(offspring, store, "1.0", f"{point}:kill")
    assert offspring.status(pid, within=PATIENCE) == -signal.SIGKILL
    whole = point == "release.recorded"
    assert (store.get("1.0") is not None) == whole
    assert [release.version for release in store.installed()] == ["0.9", *(["1.0"] if whole else [])]
    release = install(store, "1.0")
    assert left(store) == ["0.9", "1.0"]
    assert store.verify(release) == []
    assert store.get("0.9") == before


def test_nobody_touches_what_another_process_installs(
    source: Path, store: Releases, tmp_path: Path, offspring: Offspring
) -> None:
    making.directory(source, "1.0")
    making.directory(source, "2.0")
    pid = making.start_installer(offspring, store, "1.0", "release.made:stop")
    wait_for_stop(pid, within=PATIENCE)
    with pytest.raises(ReleaseError, match="passed while waiting for another installation"):
        install(store, "2.0", timeout=0.2)
    assert store.prune([]) == []
    assert "1.0" in left(store)
    kill(pid, signal.SIGKILL)
    offspring.status(pid, within=PATIENCE)
    assert install(store, "2.0").version == "2.0"
    assert left(store) == ["2.0"]


def test_a_record_of_a_later_agent_is_left_alone(source: Path, store: Releases) -> None:
    making.directory(source, "1.0")
    record = install(store, "1.0").path / ".hotswap-release.json"
    record.write_text(record.read_text().replace('"format":1', '"format":2'))
    with pytest.raises(ReleaseError, match="its record cannot be read: damaged, or of a later agent"):
        install(store, "1.0")
    assert left(store) == ["1.0"]


def test_a_source_that_everybody_may_write_to_is_refused(source: Path, store: Releases) -> None:
    making.directory(source, "1.0")
    source.chmod(0o777)
    with pytest.raises(ReleaseError, match=r"everybody may write to .*: chmod o-w"):
        install(store, "1.0")
    assert left(store) == []


def test_a_store_that_others_may_write_to_is_refused(source: Path, store: Releases) -> None:
    making.directory(source, "1.0")
    store.directory.mkdir(parents=True)
    store.directory.chmod(0o777)
    with pytest.raises(ReleaseError, match="others may write to"):
        install(store, "1.0")
