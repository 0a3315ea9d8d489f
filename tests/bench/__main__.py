"""`make bench`: measure, print tables, keep the last ones in docs/benchmarks.md.

python -m tests.bench                     everything, about an hour
python -m tests.bench cpu memory          some parts; the others stay as they were measured last
python -m tests.bench --quick             a minute or two: figures to glance at, nothing is written
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from tests.bench import (
    anatomy,
    containers,
    costs,
    cpu,
    dissection,
    http2,
    idle,
    large,
    latency,
    machine,
    memory,
    metrics,
    reload,
    start,
    tls,
    upgrade,
)
from tests.bench.apart import apart
from tests.bench.loadgen import PROTOCOLS
from tests.bench.page import Measured, Result, section, updated

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
QUICK_CPU = cpu.Plan(rounds=3, seconds=0.5)
QUICK_LARGE = large.Plan(rounds=2, size=32 * large.MEGABYTE, slow=8, seconds=0.5)
QUICK_LATENCY = latency.Plan(rounds=3, seconds=0.5)
QUICK_HTTP2 = http2.Plan(rounds=3, requests=4000, looked_at=20_000)
QUICK_ANATOMY = anatomy.Plan(seconds=0.5)
QUICK_COSTS = costs.Plan(rounds=2, seconds=0.2)
QUICK_TLS = tls.Plan(rounds=3, seconds=0.5, requests=10_000, idle=1000, live=(1000,), upgrades=2)
QUICK_UPGRADE = upgrade.Plan(connections=(100, 1000), upgrades=2)
QUICK_CONTAINERS = containers.Plan(takeovers=4, idle=(20,))
QUICK_START = start.Plan(starts=3, upgrades=2)
QUICK_MEMORY = memory.Plan(connections=1000)
QUICK_IDLE = idle.Plan(connections=1000, rounds=2, seconds=1.0)
QUICK_METRICS = metrics.Plan(rounds=5, calls=5000, scrapes=3, deaths=20)


def main() -> int:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(MEASURE)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="few rounds; the page is left alone")
    parser.add_argument("--apart", action="store_true", help="in a CPU group that comes first (root, cgroup v1)")
    parser.add_argument("--upgrades", type=int, help="upgrades per mixture")
    parser.add_argument("--rounds", type=int, help="rounds of the comparisons of CPU")
    parser.add_argument("--rate", type=float, help="requests a second, in all: while upgrading, and for latencies")
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, help="what is spoken in the CPU comparison")
    parser.add_argument("--connections", type=int, nargs="+", help="live connections while upgrading")
    parser.add_argument("--busy", type=int, nargs="+", metavar="PERCENT", help="how many of them are busy")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(MEASURE):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; write {', '.join(MEASURE)}")

    with apart() if chosen.apart else nullcontext(False) as is_apart:
        measure(chosen, is_apart=is_apart)
    return 0


def measure(chosen: argparse.Namespace, *, is_apart: bool) -> None:
    """Measure the chosen parts; after each, print it and write the page."""
    for part in chosen.parts or MEASURE:
        where = machine.describe(apart=is_apart)
        measured = Measured(where, MEASURE[part](chosen))
        print(f"\n{section(measured)}", flush=True)
        if not chosen.quick:
            PAGE.write_text(updated(PAGE.read_text(), measured))
            if isinstance(measured.result, anatomy.Result):
                draw(measured.result.flames)


def draw(flames: dict[str, str]) -> None:
    """Write the pictures that the page links to."""
    folder = PAGE.parent / dissection.FOLDER
    folder.mkdir(exist_ok=True)
    for name, picture in flames.items():
        (folder / name).write_text(picture)


def measure_cpu(chosen: argparse.Namespace) -> cpu.Result:
    """See cpu.py."""
    plan = QUICK_CPU if chosen.quick else cpu.Plan()
    plan.rounds = chosen.rounds or plan.rounds
    plan.protocols = tuple(chosen.protocols or plan.protocols)
    return cpu.measure(plan, say)


def measure_latency(chosen: argparse.Namespace) -> latency.Result:
    """See latency.py."""
    plan = QUICK_LATENCY if chosen.quick else latency.Plan()
    plan.rounds = chosen.rounds or plan.rounds
    plan.rate = chosen.rate
    return latency.measure(plan, say)


def measure_large(chosen: argparse.Namespace) -> large.Result:
    """See large.py."""
    plan = QUICK_LARGE if chosen.quick else large.Plan()
    plan.rounds = chosen.rounds or plan.rounds
    return large.measure(plan, say)


def measure_http2(chosen: argparse.Namespace) -> http2.Result:
    """See http2.py."""
    plan = QUICK_HTTP2 if chosen.quick else http2.Plan()
    plan.rounds = chosen.rounds or plan.rounds
    return http2.measure(plan, say)


def measure_anatomy(chosen: argparse.Namespace) -> anatomy.Result:
    """See anatomy.py."""
    return anatomy.measure(QUICK_ANATOMY if chosen.quick else anatomy.Plan(), say)


def measure_costs(chosen: argparse.Namespace) -> costs.Result:
    """See costs.py."""
    plan = QUICK_COSTS if chosen.quick else costs.Plan()
    plan.rounds = chosen.rounds or plan.rounds
    return costs.measure(plan, say)


def measure_tls(chosen: argparse.Namespace) -> tls.Result:
    """See tls.py."""
    plan = QUICK_TLS if chosen.quick else tls.Plan()
    plan.rounds = chosen.rounds or plan.rounds
    plan.upgrades = chosen.upgrades or plan.upgrades
    plan.live = tuple(chosen.connections or plan.live)
    return tls.measure(plan, say)


def measure_upgrade(chosen: argparse.Namespace) -> upgrade.Result:
    """See upgrade.py."""
    plan = QUICK_UPGRADE if chosen.quick else upgrade.Plan()
    plan.upgrades = chosen.upgrades or plan.upgrades
    plan.rate = chosen.rate or plan.rate
    plan.connections = tuple(chosen.connections or plan.connections)
    plan.busy_percent = tuple(chosen.busy or plan.busy_percent)
    return upgrade.measure(plan, say)


def measure_containers(chosen: argparse.Namespace) -> containers.Result:
    """See containers.py."""
    plan = QUICK_CONTAINERS if chosen.quick else containers.Plan()
    plan.takeovers = chosen.upgrades or plan.takeovers
    return containers.measure(plan, say)


def measure_start(chosen: argparse.Namespace) -> start.Result:
    """See start.py."""
    plan = QUICK_START if chosen.quick else start.Plan()
    plan.starts = chosen.rounds or plan.starts
    plan.upgrades = chosen.upgrades or plan.upgrades
    return start.measure(plan, say)


def measure_reload(_: argparse.Namespace) -> reload.Result:
    """See reload.py."""
    return reload.measure(reload.Plan(), say)


def measure_memory(chosen: argparse.Namespace) -> memory.Result:
    """See memory.py."""
    return memory.measure(QUICK_MEMORY if chosen.quick else memory.Plan(), say)


def measure_idle(chosen: argparse.Namespace) -> idle.Result:
    """See idle.py."""
    plan = QUICK_IDLE if chosen.quick else idle.Plan()
    plan.rounds = chosen.rounds or plan.rounds
    return idle.measure(plan, say)


def measure_metrics(chosen: argparse.Namespace) -> metrics.Result:
    """See metrics.py."""
    plan = QUICK_METRICS if chosen.quick else metrics.Plan()
    plan.rounds = chosen.rounds or plan.rounds
    return metrics.measure(plan, say)


MEASURE: dict[str, Callable[[argparse.Namespace], Result]] = {
    "cpu": measure_cpu,
    "latency": measure_latency,
    "large": measure_large,
    "http2": measure_http2,
    "anatomy": measure_anatomy,
    "costs": measure_costs,
    "tls": measure_tls,
    "upgrade": measure_upgrade,
    "containers": measure_containers,
    "start": measure_start,
    "reload": measure_reload,
    "memory": measure_memory,
    "idle": measure_idle,
    "metrics": measure_metrics,
}


def say(line: str) -> None:
    """Progress, apart from the tables."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
