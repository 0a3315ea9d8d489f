"""Keys and the environment: what `hotswap run` and `hotswap check` do before a key is read, and refuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from hotswap.errors import ConfigError
from proxy.cli import check as check_module
from proxy.cli.run import Bounds, ConfigFile, configuration
from proxy.tls import openssl, secrecy
from tests.kit.certificates import Authority

TEXT = """\
name: edge
listeners:
  - {name: web, address: 127.0.0.1:443, protocol: http1, cluster: app, tls: {certificates: [{cert: e.pem, key: e.key}]}}
clusters:
  - {name: app, endpoints: [127.0.0.1:9000]}
"""
PLAIN = TEXT.replace(", tls: {certificates: [{cert: e.pem, key: e.key}]}", "")
CLUSTER = PLAIN.replace("9000]", "9000], tls: {ca: ca.pem}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Authority(tmp_path).issue("e")
    path = tmp_path / "edge.yaml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened, in its order; the process of the tests is not protected, since that lasts."""
    steps: list[str] = []

    def noting(step: str, then: Callable[..., None] = lambda *_: None) -> Callable[..., None]:
        def note(*arguments: object) -> None:
            steps.append(step)
            then(*arguments)

        return note

    monkeypatch.setattr(secrecy, "protect", noting("protected"))
    monkeypatch.setattr("proxy.config.tls_looks.load_pair", noting("key read", openssl.load_pair))
    monkeypatch.delenv("SSLKEYLOGFILE", raising=False)
    return steps


def test_process_is_protected_before_a_key_is_read(path: Path, steps: list[str]) -> None:
    configuration(path)
    assert steps == ["protected", "key read"]


def test_reload_that_brings_tls_protects_first_too(path: Path, steps: list[str]) -> None:
    source = ConfigFile(path, Bounds())
    path.write_text(PLAIN)
    source.read()
    assert steps == [], "without TLS cores stay possible"
    path.write_text(CLUSTER)
    source.read()
    assert steps == ["protected"], "secrets of connections are as worth hiding as keys"
    path.write_text(TEXT)
    source.read()
    assert steps == ["protected", "protected", "key read"]


def test_key_log_in_the_environment_is_refused_before_anything_is_read(
    path: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(path.parent / "keys"))
    with pytest.raises(ConfigError, match=r"^SSLKEYLOGFILE is in the environment: .*; unset SSLKEYLOGFILE$"):
        configuration(path)
    assert steps == []
    path.write_text(PLAIN)
    assert configuration(path).name == "edge", "without TLS there is nothing to write"


def run(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hotswap.cli", "run", "-c", str(path), "--runtime-dir", str(path.parent / "run")]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )


def test_run_ends_with_the_code_of_a_config_error(path: Path) -> None:
    done = run(path, SSLKEYLOGFILE=str(path.parent / "keys"))
    assert done.returncode == 3
    assert "SSLKEYLOGFILE is in the environment" in done.stderr
    assert not (path.parent / "keys").exists()
    (path.parent / "e.key").write_text("")
    done = run(path)
    assert done.returncode == 3
    assert f"{path}:3: listeners[0].tls.certificates[0].key: {path.parent}/e.key holds no private key" in done.stderr


def check(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hotswap.cli", "check", "-c", str(path), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_check_looks_into_the_files(path: Path) -> None:
    done = check(path)
    assert (done.returncode, done.stderr) == (0, "")
    (path.parent / "e.key").chmod(0o644)
    done = check(path)
    assert done.returncode == 0
    assert "warning: every user of this machine can read or write" in done.stderr
    (path.parent / "e.pem").unlink()
    done = check(path, "--json")
    assert done.returncode == 3
    (error,) = json.loads(done.stdout)["errors"]
    assert (error["line"], error["key"]) == (3, "listeners[0].tls.certificates[0].cert")


def test_check_does_not_mind_a_key_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes no connection; and the environment of the proxy is another one."""
    monkeypatch.setattr(check_module, "protect", lambda: None)
    monkeypatch.setenv("SSLKEYLOGFILE", "/tmp/keys")
    assert CliRunner().invoke(check_module.check, ["-c", str(path)]).exit_code == 0
