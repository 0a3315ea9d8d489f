"""Wheels and sdists, by the real pip."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kit.offspring import Offspring, kill
from tests.kit.waiting import eventually
from tests.vm_agent.releases import making
from tests.vm_agent.releases.making import install, left
from vm_agent.errors import ReleaseError
from vm_agent.releases.store import Releases

PATIENCE = 60.0


def said(release_program: Path) -> str:
    return subprocess.run([release_program], capture_output=True, text=True, check=True).stdout.strip()


def test_a_wheel_becomes_an_environment_of_its_own(
    source: Path, store: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/no/such/place")
    monkeypatch.setenv("PYTHONPATH", "/no/such/place")
    making.wheel(source, "1.0", requires=["beside"])
    making.wheel(source, "3.1", name="beside")
    making.wheel(source, "1.1")
    making.sums(source)
    before = os.umask(0o077)
    try:
        release = install(store, "1.0")
    finally:
        os.umask(before)
    program = release.path / "bin" / "hotswap"
    assert (release.kind, release.origin) == ("wheel", "hotswap-1.0-py3-none-any.whl")
    assert program.read_text().startswith(f"#!{release.path}/bin/python")
    assert said(program) == "hotswap 1.0"
    assert said(release.path / "bin" / "beside") == "beside 3.1"
    assert store.verify(release) == []
    assert left(store) == ["1.0"]
    assert stat.S_IMODE((release.path / "bin").stat().st_mode) == 0o755
    assert not list(release.path.glob("lib/*/site-packages/pip"))  # a release carries none


def test_the_patrol_sees_that_the_interpreter_of_a_release_is_gone(source: Path, tmp_path: Path) -> None:
    making.wheel(source, "1.0")
    (tmp_path / "python").symlink_to(sys.executable)
    store = making.store(source, tmp_path / "state", python=str(tmp_path / "python"))
    release = install(store, "1.0")
    interpreter = release.path / "bin" / "python"
    while interpreter.is_symlink() and interpreter.parent == release.path / "bin":
        interpreter, last = interpreter.parent / interpreter.readlink(), interpreter
    assert store.verify(release) == []
    record = release.path / ".hotswap-files.json"
    record.write_text(record.read_text().replace(str(interpreter), "/no/python"))
    last.unlink()
    last.symlink_to("/no/python")
    release = replace(release, files_sha256=hashlib.sha256(record.read_bytes()).hexdigest())
    assert f"{last} leads to /no/python, which is gone: install that, or this release anew" in store.verify(release)


def test_a_wheel_that_is_not_as_listed_is_not_opened(source: Path, store: Releases) -> None:
    making.wheel(source, "1.0").write_bytes(b"anything")
    making.sums(source, {"hotswap-1.0-py3-none-any.whl": "0" * 64})
    with pytest.raises(ReleaseError, match=r"expected sha256 0{64}, found [0-9a-f]{64}; fetch the file again"):
        install(store, "1.0")
    making.sums(source)
    with pytest.raises(ReleaseError, match=r"hotswap-1\.0-py3-none-any\.whl is damaged"):
        install(store, "1.0")
    assert left(store) == []


def test_without_an_interpreter_it_is_said_what_to_set(source: Path, tmp_path: Path) -> None:
    making.wheel(source, "1.0")
    making.program(tmp_path / "python", "#!/bin/sh\necho broken\nexit 7\n")
    for python, message in (
        ("/no/python", "cannot be started"),
        (str(tmp_path / "python"), r"(?s)releases\.python.*broken"),
    ):
        other = making.store(source, tmp_path / "state", python=python)
        with pytest.raises(ReleaseError, match=message):
            install(other, "1.0")
        assert left(other) == []


@pytest.mark.all
class TestPip:
    def test_what_is_required_and_missing_is_named(self, source: Path, store: Releases) -> None:
        making.wheel(source, "1.0", requires=["absent"])
        with pytest.raises(ReleaseError, match=r"(?s)No matching distribution found for absent.*releases\.index"):
            install(store, "1.0")
        making.wheel(source, "1", name="absent")
        making.sums(source, {"absent-1-py3-none-any.whl": ""})
        with pytest.raises(ReleaseError, match=r"not listed there, so not used: absent-1-py3-none-any\.whl"):
            install(store, "1.0")
        assert left(store) == []

    def test_a_required_file_that_is_not_as_listed_is_refused(self, source: Path, store: Releases) -> None:
        making.wheel(source, "1.0", requires=["beside"])
        making.wheel(source, "1", name="beside")
        making.sums(source, {"beside-1-py3-none-any.whl": "0" * 64})
        with pytest.raises(ReleaseError, match=r"beside-1-py3-none-any\.whl is not what SHA256SUMS says"):
            install(store, "1.0")

    def test_pip_takes_the_wheel_that_fits(self, source: Path, store: Releases) -> None:
        making.wheel(source, "1.0", tag="cp27-cp27m-win32")
        making.wheel(source, "1.0")
        tag = f"cp{sys.version_info[0]}{sys.version_info[1]}-none-any"
        making.wheel(source, "1.0", tag=tag)
        making.sdist(source, "1.0", before="raise SystemExit('built')")
        assert install(store, "1.0").origin == f"hotswap-1.0-{tag}.whl"

    def test_the_sdist_serves_if_no_wheel_fits(self, source: Path, store: Releases) -> None:
        making.wheel(source, "1.0", tag="cp27-cp27m-win32")
        making.sdist(source, "1.0")
        assert install(store, "1.0").kind == "sdist"

    def test_a_wheel_that_does_not_fit_is_refused(self, source: Path, store: Releases) -> None:
        making.wheel(source, "1.0", tag="cp27-cp27m-win32")
        with pytest.raises(ReleaseError, match="is not a supported wheel on this platform"):
            install(store, "1.0")
        making.wheel(source, "1.0", tag="cp26-cp26m-win32")
        with pytest.raises(ReleaseError, match="pip finds no wheel that fits"):
            install(store, "1.0")
        assert left(store) == []

    def test_an_sdist_is_built_offline(self, source: Path, store: Releases) -> None:
        made = making.sdist(source, "1.0")
        release = install(store, "1.0")
        assert (release.kind, release.origin) == ("sdist", made.name)
        assert said(release.path / "bin" / "hotswap") == "hotswap 1.0"

    def test_what_a_build_requires_is_named(self, source: Path, store: Releases) -> None:
        making.sdist(source, "1.0", requires=["absent-backend"])
        with pytest.raises(ReleaseError, match=r"(?s)absent-backend.*source directory"):
            install(store, "1.0")

    def test_the_last_words_of_a_build_are_told(self, source: Path, store: Releases) -> None:
        making.sdist(source, "1.0", before="raise RuntimeError('no compiler here')")
        with pytest.raises(ReleaseError, match=r"(?s)pip could not install .*no compiler here"):
            install(store, "1.0")
        assert left(store) == []

    def test_an_index_can_be_named_and_pips_own_configuration_is_not_asked(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        making.wheel(source, "1.0", requires=["beside"])
        index = tmp_path / "index" / "beside"
        index.mkdir(parents=True)
        made = making.wheel(index, "2", name="beside")
        (index / "index.html").write_text(f'<a href="{made.name}">{made.name}</a>')
        store = making.store(source, tmp_path / "named", index=(tmp_path / "index").as_uri())
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        assert said(install(store, "1.0").path / "bin" / "beside") == "beside 2"

    def test_pip_as_it_is_configured_can_be_asked_for(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        making.wheel(source, "1.0", requires=["beside"])
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        making.wheel(elsewhere, "2", name="beside")
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(elsewhere))
        store = making.store(source, tmp_path / "configured", index="default")
        assert said(install(store, "1.0").path / "bin" / "beside") == "beside 2"

    def test_an_interpreter_without_pip_borrows_one(self, source: Path, tmp_path: Path, offspring: Offspring) -> None:
        making.wheel(source, "1.0")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
        bare = making.store(source, tmp_path / "state", python=str(tmp_path / "bare" / "bin" / "python"))
        assert install(bare, "1.0").kind == "wheel"

    @pytest.mark.parametrize("point", ["release.staged", "release.made", "release.unpacked", "release.recorded"])
    def test_after_a_crash_anywhere_the_store_is_usable(
        self, source: Path, store: Releases, tmp_path: Path, offspring: Offspring, point: str
    ) -> None:
        making.wheel(source, "1.0")
        pid = making.start_installer(offspring, store, "1.0", f"{point}:kill")
        assert offspring.status(pid, within=PATIENCE) == -signal.SIGKILL
        assert (store.get("1.0") is not None) == (point == "release.recorded")
        assert store.verify(install(store, "1.0")) == []
        assert left(store) == ["1.0"]

    def test_a_pip_that_outlives_its_agent_is_waited_for(
        self, source: Path, store: Releases, tmp_path: Path, offspring: Offspring
    ) -> None:
        gate, reached = tmp_path / "gate", tmp_path / "reached"
        os.mkfifo(gate)
        making.sdist(source, "1.0", before=f"open({str(reached)!r}, 'w').close(); open({str(gate)!r}).read()")
        making.directory(source, "2.0")
        pid = making.start_installer(offspring, store, "1.0")
        eventually(reached.exists, within=PATIENCE, what="pip builds")
        kill(pid, signal.SIGKILL)
        offspring.status(pid, within=PATIENCE)
        with pytest.raises(ReleaseError, match="waiting for another installation"):
            install(store, "2.0", timeout=0.2)
        with gate.open("w"):
            pass  # the build goes on
        assert install(store, "2.0").version == "2.0"
        assert left(store) == ["2.0"]
