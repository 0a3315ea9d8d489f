"""Real upgrades from the interpreted data plane to the compiled one and back: nobody may notice which one serves."""

from __future__ import annotations

import pytest

from proxy.compiled import VARIABLE
from tests.kit.certificates import Authority
from tests.kit.load import Plan
from tests.kit.stage import Edge, Stage

MIXTURE = Plan(
    busy=16, idle=6, streams=3, uploads=3, websockets=2, raw=8, bolt=10, rate=80, raw_rate=40, bolt_rate=80,
    stream_seconds=2, upload_pause=1,
)  # fmt: skip
WAYS = ("compiled", "interpreted", "compiled", "interpreted")


def command_for(edge: Edge, mode: str) -> list[str]:
    """What starts a generation in that mode, whatever the environment of the one before."""
    choice = ["-u", VARIABLE] if mode == "compiled" else [f"{VARIABLE}=python"]
    return ["env", *choice, *edge.instance.command()]


def mode_of(edge: Edge) -> str:
    server = edge.instance.status().server
    if server.get("why_interpreted", VARIABLE).startswith(VARIABLE):
        return str(server["plane"])
    pytest.skip(f"the data plane cannot run compiled: {server['why_interpreted']}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("secure", [pytest.param(False, marks=pytest.mark.all), True], ids=["plaintext", "TLS"])
def test_nobody_notices_upgrades_from_one_mode_to_the_other(stage: Stage, authority: Authority, secure: bool) -> None:
    behind = stage.upstreams(
        ("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0"), ("bolt", "127.0.0.1:0"),
        tls=authority.issue("behind") if secure else None,
    )  # fmt: skip
    edge = Edge(stage, behind, authority=authority if secure else None)
    edge.instance.environment[VARIABLE] = "python"
    edge.instance.start()
    assert mode_of(edge) == "interpreted"
    load = edge.load(MIXTURE)
    for mode in WAYS:
        done = edge.instance.upgrade("--require-all", command=command_for(edge, mode))
        assert done.exit_code == 0, done.text
        assert done.result["kept"] == []
        assert mode_of(edge) == mode
        assert load.turn().failures == []
        assert behind.record().busy_ends == []
    report = load.finish()
    print(report.summary())
    assert report.failures == []
    assert all(report.exchanges.values())
    assert behind.record().wrong == []
    assert edge.instance.status().server["bugs"] == 0
