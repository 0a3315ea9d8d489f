"""The agent in a real systemd, under its own unit as it is shipped, and a sidecar that speaks TLS.

What it is locked in by must not keep it, or a release, from what TLS needs.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.kit.certificates import Authority
from tests.kit.machine import Machine
from tests.kit.machine import needed as machine_needed
from tests.kit.networks import Network, command
from tests.kit.networks import needed as network_needed
from tests.kit.stage import BREEZE, Stage, configuration
from tests.kit.vms import SOURCE, Vm, forget, release_of_machines

pytestmark = [pytest.mark.all, pytest.mark.timeout(300)]

WEB, RAW = "127.0.0.1:8443", "127.0.0.1:8444"
PAIR = {kind: f"/etc/hotswap/tls/edge.{kind}" for kind in ("cert", "key")}


@pytest.fixture
def source() -> Iterator[Path]:
    machine_needed()
    network_needed()
    made = Path(tempfile.mkdtemp(prefix="hsr", dir="/tmp"))
    for version in ("1.0.0", "1.1.0"):
        release_of_machines(made, version)
    yield made
    forget(made)


def test_a_sidecar_with_tls_starts_and_is_upgraded_without_loss(
    stage: Stage, source: Path, authority: Authority
) -> None:
    network = Network(f"hs{uuid.uuid4().hex[:8]}")
    try:
        config = configuration(WEB, RAW, network.run(stage.upstreams))
        for listener in config["listeners"]:
            listener["tls"] = {"certificates": [dict(PAIR)]}
        pair = authority.issue("edge")
        with Machine(netns=f"/run/netns/{network.name}", binds={SOURCE: source}) as machine:
            machine.install({path: getattr(pair, kind).read_text() for kind, path in PAIR.items()})
            vm = Vm(machine, config, "1.0.0")
            plan = msgspec.structs.replace(BREEZE, http=WEB, tcp=RAW, tls=str(authority.file))
            load = network.run(stage.load, plan)
            done = vm.agent("upgrade", "edge", "--release", "1.1.0")
            assert done.returncode == 0, f"{done.stdout}{vm.decisions()}"
            report = load.finish()
            assert report.failures == []
            vm.serves("1.1.0")
            assert vm.failed_units() == ""
    finally:
        command("ip", "netns", "del", network.name)
