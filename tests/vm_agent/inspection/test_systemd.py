"""The patrol where sidecars are units of a real systemd."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.kit.machine import Machine
from tests.kit.machine import needed as machine_needed
from tests.kit.networks import Network, command
from tests.kit.networks import needed as network_needed
from tests.kit.stage import Stage, configuration
from tests.kit.vms import SOURCE, Vm, forget, release_of_machines
from tests.kit.waiting import eventually

pytestmark = [pytest.mark.all, pytest.mark.timeout(300)]

PATIENCE = 60.0
WEB, RAW = "127.0.0.1:8080", "127.0.0.1:8081"


@pytest.fixture
def vm() -> Iterator[Vm]:
    machine_needed()
    network_needed()
    stage, source = Stage(), Path(tempfile.mkdtemp(prefix="hsr", dir="/tmp"))
    network = Network(f"hs{uuid.uuid4().hex[:8]}")
    try:
        release_of_machines(source, "1.0.0")
        upstreams = network.run(stage.upstreams)
        with Machine(netns=f"/run/netns/{network.name}", binds={SOURCE: source}) as machine:
            yield Vm(machine, configuration(WEB, RAW, upstreams), "1.0.0")
    finally:
        command("ip", "netns", "del", network.name)
        stage.close()
        forget(source)


def findings(vm: Vm) -> dict[tuple[str, str, str], str]:
    """Of the sidecar and its releases, not of the machine that the test runs on."""
    answer: dict[str, Any] = msgspec.json.decode(vm.agent("inspect", "--json").stdout)
    found = [one for one in answer["findings"] if one["sidecar"] or one["what"] in {"release_damaged", "patrol"}]
    # Where no controller of memory is, nothing can enforce its limit, and so it is told.
    found = [one for one in found if one["place"] != "memory limit"]
    return {(one["severity"], one["what"], one["place"]): one["text"] for one in found}


def test_a_unit_gives_no_cause_until_its_spec_is_another_one(vm: Vm) -> None:
    eventually(lambda: findings(vm) == {}, within=PATIENCE, what=f"nothing is found: {findings(vm)}")
    vm.write_spec(run={"user": "root", "environment": {"TZ": "UTC"}})
    wanted = {
        ("warning", "launch_drift", "environment"),
        ("warning", "launch_drift", "user"),
    }
    eventually(lambda: wanted <= findings(vm).keys(), within=PATIENCE, what=f"{wanted} are found")
