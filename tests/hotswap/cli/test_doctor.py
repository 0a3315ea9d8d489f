"""`hotswap doctor`: every finding with its remedy, and nobody disturbed."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import resource
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, PackageNotFoundError
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotswap.cli import checks
from tests.hotswap.cli.server import FakeServer, run


def problems(*findings: checks.Finding) -> list[str]:
    assert all(bool(finding.remedy) == (finding.level != "ok") for finding in findings)
    return [finding.message for finding in findings if finding.level != "ok"]


@pytest.fixture(autouse=True)
def _tidy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSLKEYLOGFILE", raising=False)


def test_all_is_well(edge: FakeServer) -> None:
    (edge.runtime_dir / "edge").chmod(0o700)
    done = edge.run("doctor")
    assert "name edge: generation 3, serving, pid 4711" in done.stdout
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "no problem found")


def test_json(edge: FakeServer) -> None:
    (edge.runtime_dir / "edge").chmod(0o755)
    done = edge.run("doctor", "--json")
    report = msgspec.json.decode(done.stdout)
    assert (done.exit_code, report["ok"]) == (1, False)
    wrong = [finding for finding in report["findings"] if finding["level"] == "problem"]
    assert [finding["check"] for finding in wrong] == ["name edge"]
    assert wrong[0]["remedy"] == f"chmod 0700 {edge.runtime_dir / 'edge'}"


def test_a_directory_that_is_not_there_is_fine(tmp_path: Path) -> None:
    assert problems(*checks.runtime(tmp_path / "none")) == []


def test_a_directory_others_may_write_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert "0777" in problems(*checks.runtime(tmp_path))[0]
    file = tmp_path / "file"
    file.touch()
    assert problems(*checks.runtime(file)) == [f"{file} is no directory"]


def test_a_name_that_several_users_share_is_a_note(edge: FakeServer) -> None:
    (edge.runtime_dir / "edge").chmod(0o2770)
    findings = [finding for finding in checks.runtime(edge.runtime_dir) if finding.check == "name edge"]
    assert [finding.level for finding in findings] == ["note", "ok"]
    assert f"open to the group {os.getegid()}" in findings[0].message
    assert edge.run("doctor").exit_code == 0


def test_a_stale_name_is_a_note(edge: FakeServer, tmp_path: Path) -> None:
    home = tmp_path / "run2" / "old"
    home.mkdir(parents=True, mode=0o700)
    (home / "control.sock").touch()
    (home / "lock").touch()
    findings = list(checks.runtime(tmp_path / "run2"))
    assert [(finding.check, finding.level) for finding in findings[1:]] == [("name old", "note")]
    assert run("doctor", runtime_dir=tmp_path / "run2").exit_code == 0


def test_a_lock_without_a_listener_is_a_problem(tmp_path: Path) -> None:
    home = tmp_path / "old"
    home.mkdir(mode=0o700)
    (home / "control.sock").touch()
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "holds the lock" in problems(*checks.runtime(tmp_path))[0]


def test_a_hung_owner(edge: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "ANSWER_SECONDS", 0.05)
    (edge.runtime_dir / "edge").chmod(0o700)
    edge._serving.call(edge._serving.server.pause)
    assert "did not answer in time" in problems(*checks.runtime(edge.runtime_dir))[0]


def test_a_name_too_long(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 100)
    home.mkdir(mode=0o700)
    (home / "control.sock").touch()
    assert "too long" in problems(*checks.runtime(tmp_path))[0]


def test_a_key_log_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", "/tmp/keys")
    assert "/tmp/keys" in problems(*checks.secrets())[0]


def test_another_owner_of_an_import_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "packages_distributions", lambda: {"proxy": ["hotswap", "proxy.py"]})
    found = [finding for finding in checks.packages() if finding.level == "problem"]
    assert found[0].remedy.startswith("pip uninstall proxy.py")


@pytest.mark.parametrize("spec", [None, ModuleSpec("proxy", None, origin="/elsewhere/proxy/__init__.py")])
def test_an_import_that_finds_something_else(monkeypatch: pytest.MonkeyPatch, spec: ModuleSpec | None) -> None:
    monkeypatch.setattr(checks, "packages_distributions", dict[str, list[str]])
    real = importlib.util.find_spec

    def find_spec(name: str) -> ModuleSpec | None:
        return spec if name == "proxy" else real(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    assert len(problems(*checks.packages())) == 1


def test_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 20_000))
    assert "1024 open files" in problems(*checks.open_files())[0]


@pytest.mark.parametrize("installed", ["0.1", None])
def test_libraries_missing_or_too_old(monkeypatch: pytest.MonkeyPatch, installed: str | None) -> None:
    def version(name: str) -> Any:
        if installed is None:
            raise PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(checks, "version", version)
    assert len(problems(*checks.libraries())) == len(checks.LIBRARIES)


def test_a_kernel_that_lacks_something(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise OSError

    monkeypatch.setattr(checks, "KERNEL", {"pidfd": fails})
    assert "pidfd do not work here" in problems(*checks.kernel())[0]


def test_an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "OLDEST_PYTHON", (9, 9))
    assert "too old" in problems(*checks.python())[0]


def test_a_check_of_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("again", f"{checks.__name__}:python", checks.GROUP)
    monkeypatch.setattr(checks, "entry_points", lambda group: [point] if group == checks.GROUP else [])
    assert [finding.check for finding in checks.others()] == ["python"]


def test_a_check_that_cannot_be_loaded_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("moon", "hotswap.cli.checks:moon", checks.GROUP)
    fine = EntryPoint("again", f"{checks.__name__}:python", checks.GROUP)
    monkeypatch.setattr(checks, "entry_points", lambda group: [broken, fine] if group == checks.GROUP else [])
    found = list(checks.others())
    assert [(finding.check, finding.level) for finding in found] == [("moon", "problem"), ("python", "ok")]
    assert "hotswap.cli.checks:moon" in found[0].message


def test_the_proxy_brings_a_check_of_its_own(edge: FakeServer) -> None:
    assert " tls: " in edge.run("doctor").stdout
