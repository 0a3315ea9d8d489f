"""`make bench`: measure, print tables, keep the last ones in docs/benchmarks.md.

python -m tests.bench                     everything, about 25 minutes
python -m tests.bench cpu memory          some parts; the others stay as they were measured last
python -m tests.bench --quick             a minute or two: figures to glance at, nothing is written
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from tests.bench import cpu, machine, memory, upgrade
from tests.bench.loadgen import BUILD, PROTOCOLS
from tests.bench.page import Measured, Measurements, page, section

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
KEPT = BUILD / "measured.json"
QUICK_CPU = cpu.Plan(rounds=3, seconds=0.5)
QUICK_UPGRADE = upgrade.Plan(connections=(100, 1000), upgrades=2)
QUICK_MEMORY = memory.Plan(connections=1000)
PARTS = ("cpu", "upgrade", "memory")


def main() -> int:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="few rounds; the page is left alone")
    parser.add_argument("--upgrades", type=int, help="upgrades per mixture")
    parser.add_argument("--rounds", type=int, help="rounds of the CPU comparison")
    parser.add_argument("--rate", type=float, help="requests a second while upgrading, in all")
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, help="what is spoken in the CPU comparison")
    parser.add_argument("--connections", type=int, nargs="+", help="live connections while upgrading")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; write {', '.join(PARTS)}")

    kept = msgspec.json.decode(KEPT.read_bytes(), type=Measurements) if KEPT.exists() else Measurements()
    for part in chosen.parts or PARTS:
        where = machine.describe()
        measured: Measured
        if part == "cpu":
            plan = QUICK_CPU if chosen.quick else cpu.Plan()
            plan.rounds = chosen.rounds or plan.rounds
            plan.protocols = tuple(chosen.protocols or plan.protocols)
            measured = kept.cpu = Measured(where, cpu=cpu.measure(plan, say))
        elif part == "memory":
            measured = kept.memory = Measured(
                where, memory=memory.measure(QUICK_MEMORY if chosen.quick else memory.Plan(), say)
            )
        else:
            mixtures = QUICK_UPGRADE if chosen.quick else upgrade.Plan()
            mixtures.upgrades = chosen.upgrades or mixtures.upgrades
            mixtures.rate = chosen.rate or mixtures.rate
            mixtures.connections = tuple(chosen.connections or mixtures.connections)
            measured = kept.upgrade = Measured(where, upgrade=upgrade.measure(mixtures, say))
        print(f"\n{section(measured)}", flush=True)
        if not chosen.quick:
            BUILD.mkdir(exist_ok=True)
            KEPT.write_bytes(msgspec.json.encode(kept))
            PAGE.write_text(page(kept))
    return 0


def say(line: str) -> None:
    """Progress, apart from the tables."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
