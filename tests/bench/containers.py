"""How long the next container takes to own, from its start on, under load.

The containers are of namespaces alone (`tests.kit.unshared`): what a runtime adds, and pulling an image, comes on top.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.bench.upgrade import median_and_worst
from tests.kit import load
from tests.kit.certificates import Authority
from tests.kit.pod import Pod
from tests.kit.processes import PATIENCE
from tests.kit.rounds import never_close, take_over
from tests.kit.stage import Edge
from tests.kit.unshared import Unshared
from tests.kit.upstreams import Kind

PLACES: tuple[tuple[Kind, str], ...] = (("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0"), ("bolt", "127.0.0.1:0"))
MIXED = load.Plan(
    busy=60, idle=20, streams=10, uploads=10, websockets=8, raw=20, bolt=16, rate=150, raw_rate=80, bolt_rate=120
)


class Plan(msgspec.Struct):
    """What to measure."""

    takeovers: int = 20
    idle: tuple[int, ...] = (20, 2000)  # connections besides those that are busy


class Row(msgspec.Struct):
    """One mixture; a figure per takeover."""

    tls: bool
    connections: int
    seconds: list[float]  # from the start of the container until the owner lives in it
    downtime: list[float]  # milliseconds
    empty: list[float]  # seconds that a container takes which does nothing, from its start to its end
    failures: int = 0


class Result(msgspec.Struct):
    """Everything of one run."""

    rows: list[Row]


def measure(plan: Plan, say: Callable[[str], None]) -> Result:
    """Run it all."""
    rows = []
    for idle in plan.idle:
        for tls in (False, True):
            with tempfile.TemporaryDirectory() as folder, Unshared() as pod:
                authority = Authority(Path(folder)) if tls else None
                rows.append(_mixture(pod, authority, msgspec.structs.replace(MIXED, idle=idle), plan.takeovers))
            row = rows[-1]
            median, worst = median_and_worst(row.seconds)
            say(f"{row.connections} connections, {tls=}: owner after {median:.2f} s, at worst {worst:.2f} s")
    return Result(rows)


def _mixture(pod: Pod, authority: Authority | None, mixture: load.Plan, takeovers: int) -> Row:
    behind = pod.upstreams(*PLACES, tls=authority.issue("behind") if authority else None)
    edge = Edge(pod, behind, authority=authority)
    never_close(edge.instance.config)
    edge.instance.write_config()
    old = pod.run("a")
    pod.wait_served_by(old)
    clients = edge.load(mixture)
    row = Row(authority is not None, sum(clients.report().connected.values()), [], [], [])
    for number in range(takeovers):
        new, took = take_over(pod, "ba"[number % 2])
        row.seconds.append(took.seconds)
        row.downtime.append(took.downtime)
        assert old.status(within=PATIENCE) == 0, old.log_tail()
        clients.turn()
        old = new
        began = time.monotonic()
        assert pod.start("empty", "true").status(within=PATIENCE) == 0
        row.empty.append(time.monotonic() - began)
    row.failures = clients.finish().failed
    return row
