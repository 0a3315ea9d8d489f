"""Containers that take over from each other under load: nobody may notice, whatever happens to the old one."""

from __future__ import annotations

import msgspec
import pytest

from tests.kit.certificates import Authority
from tests.kit.load import Plan
from tests.kit.pod import Pod
from tests.kit.rounds import take_turns
from tests.kit.stage import BREEZE, Edge

# Of every kind, and some that come and go.
LITTLE = msgspec.structs.replace(BREEZE, bolt=4, bolt_calls=4, bolt_rate=40, stream_seconds=1, upload_pause=0.5)
MUCH = Plan(
    busy=60, idle=20, streams=10, uploads=10, websockets=8, raw=20, bolt=16, rate=150, raw_rate=80, bolt_rate=120
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("plan", "rounds", "tls"),
    [
        pytest.param(LITTLE, 1, True, id="little-tls"),
        *(
            pytest.param(plan, 10, tls, id=f"{name}-{'tls' if tls else 'plain'}", marks=pytest.mark.all)
            for name, plan in {"much": MUCH, "fresh": msgspec.structs.replace(LITTLE, fresh=20)}.items()
            for tls in (False, True)
        ),
    ],
)
def test_nobody_notices_containers_in_turns(pod: Pod, authority: Authority, plan: Plan, rounds: int, tls: bool) -> None:
    behind = pod.upstreams(
        ("http", "127.0.0.1:0"),
        ("tcp", "127.0.0.1:0"),
        ("bolt", "127.0.0.1:0"),
        tls=authority.issue("behind") if tls else None,
    )
    edge = Edge(pod, behind, authority=authority if tls else None, admin="127.0.0.1:9000")
    report, took = take_turns(pod, edge, plan, 2 * rounds)
    print(report.summary(), f"{2 * rounds} takeovers, worst {max(took)}")
