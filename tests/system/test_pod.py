"""Containers that take over from each other under load: nobody may notice, whatever happens to the old one."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import msgspec
import pytest

from tests.kit.certificates import Authority
from tests.kit.load import Plan
from tests.kit.pod import Pod
from tests.kit.processes import PATIENCE
from tests.kit.rounds import Takeover, take_over, take_turns
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
def test_nobody_notices_containers_in_turns(
    pod: Pod,
    authority: Authority,
    plan: Plan,
    rounds: int,
    tls: bool,
    record_property: Callable[[str, object], None],
) -> None:
    behind = pod.upstreams(
        ("http", "127.0.0.1:0"),
        ("tcp", "127.0.0.1:0"),
        ("bolt", "127.0.0.1:0"),
        tls=authority.issue("behind") if tls else None,
    )
    edge = Edge(pod, behind, authority=authority if tls else None, admin="127.0.0.1:9000")
    report, took = take_turns(pod, edge, plan, 2 * rounds)
    tell(took, record_property)
    print(report.summary())


@pytest.mark.all
def test_it_is_told_how_long_the_next_container_takes(pod: Pod, record_property: Callable[[str, object], None]) -> None:
    """None is killed here: whoever gave everything away ends of itself."""
    edge = Edge(pod, pod.upstreams())
    old = pod.run("a")
    pod.wait_served_by(old)
    load = edge.load(LITTLE.only("busy", "idle", "raw"))
    took = []
    for name in "ba" * 5:
        new, one = take_over(pod, name)
        took.append(one)
        assert old.status(within=PATIENCE) == 0, old.log_tail()
        old = new
    assert edge.instance.history()[-1]["downtime_ms"] == took[-1].downtime
    assert load.finish().failures == []
    tell(took, record_property)


def tell(took: list[Takeover], record_property: Callable[[str, object], None]) -> None:
    """No test fails on a timing, but whoever reads its report may want to know."""
    for name in Takeover._fields:
        figures = [getattr(one, name) for one in took]
        record_property(f"median_{name}", statistics.median(figures))
        record_property(f"worst_{name}", max(figures))
    print(f"{len(took)} takeovers, seconds from start to owner and milliseconds of downtime: at worst", max(took))
