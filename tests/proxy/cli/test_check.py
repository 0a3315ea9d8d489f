from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli.check import check

GOOD = """\
name: edge
listeners:
  - {name: db, address: 127.0.0.1:5432, protocol: tcp, cluster: db}
  - {name: dc, address: 127.0.0.1:5433, protocol: tcp, cluster: db}
clusters:
  - {name: db, endpoints: [127.0.0.1:15432]}
"""
WARNING = GOOD + "  - {name: spare, endpoints: [127.0.0.1:1]}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "edge.yaml"


def run(path: Path, text: str | None, *options: str) -> Result:
    if text is not None:
        path.write_text(text)
    return CliRunner().invoke(check, ["-c", str(path), *options])


def test_good_file_is_told_in_a_line(path: Path) -> None:
    result = run(path, GOOD)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{path}: ok: 2 listeners, 1 cluster\n", "")


def test_errors_go_to_standard_error_with_exit_code_3(path: Path) -> None:
    result = run(path, GOOD.replace("cluster: db", "cluster: dbs"))
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.splitlines() == [
        f"{path}:3: listeners[0].cluster: there is no cluster 'dbs'; did you mean db?",
        f"{path}:4: listeners[1].cluster: there is no cluster 'dbs'; did you mean db?",
        f"{path}: 2 errors",
    ]


def test_warnings_are_shown_and_the_file_is_ok(path: Path) -> None:
    result = run(path, WARNING)
    assert (result.exit_code, result.stdout) == (0, f"{path}: ok: 2 listeners, 2 clusters\n")
    expected = (
        f"{path}:7: clusters[1].name: warning: no listener uses the cluster spare; remove it, or add a route to it\n"
    )
    assert result.stderr == expected


def test_missing_file_is_a_config_error(path: Path) -> None:
    result = run(path, None)
    assert result.exit_code == 3
    assert "cannot be read: no such file or directory" in result.stderr


def test_json_of_a_good_file(path: Path) -> None:
    report = json.loads(run(path, WARNING, "--json").stdout)
    assert len(report.pop("config_id")) == 16
    warning = {"line": 7, "key": "clusters[1].name", "text": report["warnings"][0]["text"]}
    assert report == {
        "file": str(path),
        "ok": True,
        "errors": [],
        "warnings": [warning],
        "name": "edge",
        "listeners": 2,
        "clusters": 2,
    }


def test_json_of_a_bad_file(path: Path) -> None:
    result = run(path, "name: edge\n", "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["ok"], result.stderr) == (3, False, "")
    assert [error["line"] for error in report["errors"]] == [1, 1]


def test_check_needs_nothing_of_the_data_plane() -> None:
    """It runs in editors and hooks, so it stays quick."""
    loaded = "import proxy.cli.check, proxy.cli.schema, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert {"asyncio", "rich", "proxy.server", "proxy.reactor", "hotswap.generation"} & set(
        done.stdout.split()
    ) == set()
