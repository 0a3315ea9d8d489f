"""The data plane in both modes: the same snapshots to the byte, so that an upgrade may lead from one to the other."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest

from proxy.compiled import VARIABLE
from tests.kit.companion import ROOT


class Written(msgspec.Struct):
    """What `tests.proxy.busy` prints."""

    mode: str
    why: str
    states: dict[str, str]


def written(plane: str) -> Written:
    done = subprocess.run(
        [sys.executable, "-m", "tests.proxy.busy"],
        env={**os.environ, VARIABLE: plane, "PYTHONHASHSEED": "random"},
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.json.decode(done.stdout, type=Written)


@pytest.fixture(scope="module")
def interpreted() -> Written:
    found = written("python")
    assert found.mode == "interpreted"
    return found


def test_busy_connections_of_every_protocol_are_written_the_same(interpreted: Written) -> None:
    compiled = written("")
    if compiled.mode != "compiled":
        pytest.skip(f"the data plane cannot run compiled: {compiled.why}")
    assert compiled.states.keys() == interpreted.states.keys()
    different = [name for name, state in interpreted.states.items() if compiled.states[name] != state]
    assert different == []


def test_there_is_something_of_every_protocol(interpreted: Written) -> None:
    protocols = {name.split(" ")[0] for name in interpreted.states}
    assert protocols == {"tcp", "amqp", "bolt", "dubbo", "http1", "http2", "health"}
    assert len(interpreted.states) > 100
    again = {name.split(" ")[0] for name in interpreted.states if " again " in name}
    assert again == {"amqp", "bolt", "dubbo", "http2"}
