"""Settings and specs that are checked offline."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from tests.kit.certificates import Authority
from tests.vm_agent.agent import run
from tests.vm_agent.cli.test_apply import write

NOWHERE = Path("/nonexistent/agent.sock")


@pytest.fixture
def specs() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hs", dir="/tmp") as made:
        yield Path(made)


def test_files_that_can_be_used(specs: Path) -> None:
    file = write(specs / "edge.yaml")
    done = run("check", str(file), socket=NOWHERE)
    assert (done.exit_code, done.stdout) == (0, f"{file}: ok: edge, release 1.1.0\n"), done.stderr


def test_every_mistake_is_told(specs: Path) -> None:
    good, bad = write(specs / "good.yaml"), write(specs / "bad.yaml")
    bad.write_text("name: edge\nrelase: 1\n")
    done = run("check", str(good), str(bad), socket=NOWHERE)
    assert done.exit_code == 21
    assert f"{bad}:2: relase" in done.stderr
    assert f"{bad}: " in done.stderr.splitlines()[-1]
    report = msgspec.json.decode(run("check", str(good), str(bad), "--json", socket=NOWHERE).stdout)
    assert [one["ok"] for one in report["files"]] == [True, False]
    assert not report["ok"]


def test_two_specs_of_one_name(specs: Path) -> None:
    files = [str(write(specs / name)) for name in ("a.yaml", "b.yaml")]
    assert "is the name in" in run("check", *files, socket=NOWHERE).stderr
    assert "is the name in" in run("check", str(specs), socket=NOWHERE).stderr


def test_the_settings_and_all_of_their_specs(specs: Path) -> None:
    settings = specs / "agent.yaml"
    folder = specs / "sidecars"
    folder.mkdir()
    settings.write_text(yaml.safe_dump({"specs": str(folder)}))
    done = run("check", "--settings", str(settings), socket=NOWHERE)
    assert done.stdout == f"{settings}: ok: settings\n{folder}: ok: no specs\n"
    write(folder / "edge.yaml")
    done = run("check", "--settings", str(settings), socket=NOWHERE)
    assert done.stdout.splitlines()[1:] == [f"{folder}/edge.yaml: ok: edge, release 1.1.0"]


def test_certificates_of_https_are_looked_at(specs: Path) -> None:
    authority = Authority(specs / "ca")
    pair = authority.issue("agent")
    http = {"address": "127.0.0.1:9443", "certificate": str(pair.cert), "key": str(pair.cert)}
    settings = specs / "agent.yaml"
    settings.write_text(yaml.safe_dump({"specs": str(specs), "http": {**http, "client_ca": str(authority.file)}}))
    done = run("check", "--settings", str(settings), socket=NOWHERE)
    assert done.exit_code == 21
    assert "without a passphrase" in done.stderr or "chmod 0600" in done.stderr


def test_a_release_that_is_not_there_is_a_warning(specs: Path) -> None:
    settings, source, folder = specs / "agent.yaml", specs / "source", specs / "sidecars"
    folder.mkdir()
    spec = write(folder / "edge.yaml")
    places = {"specs": str(folder), "state": str(specs / "state"), "releases": {"source": str(source)}}
    settings.write_text(yaml.safe_dump(places))

    def told(*files: str) -> str:
        done = run("check", "--settings", str(settings), *files, socket=NOWHERE)
        assert done.exit_code == 0
        return done.stderr

    assert told().startswith(f"warning: {spec}:2: release: {source} is not a directory: put releases there, or set")
    source.mkdir()
    (source / "hotswap-1.0.0.tar.gz").touch()
    assert told(str(spec)).startswith(f"warning: {spec}:2: release: release 1.1.0 is missing: {source} has 1.0.0")
    (source / "hotswap-1.1.0.tar.gz").touch()
    assert told() == told(str(spec)) == ""
