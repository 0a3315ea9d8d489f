"""Names follow the conventions of Prometheus, and the manual knows each of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.metrics.families import Families
from proxy.metrics.upgrades import Upgrades
from shm_metrics import Family, Registry, Shape
from shm_metrics.processes import SHAPES

MANUAL = Path(__file__).parents[3] / "docs" / "metrics.md"
ROW = re.compile(r"^\| (`[a-z_`, ]+`) \| (counter|gauge|histogram) \| ([^|]*)\|", re.MULTILINE)


def defined() -> dict[str, Shape]:
    registry = Registry()
    families = Families(registry)
    upgrades = Upgrades(registry, ("1.0", "abc"))
    there = [one.shape for one in vars(families).values() if isinstance(one, Family)]
    there += [one.shape for one in vars(upgrades).values() if isinstance(one, Family)]
    there += [shape for shape, _ in registry.collect()]
    return {shape.name: shape for shape in (*there, *SHAPES.values())}


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    found = {}
    for names, kind, labels in ROW.findall(MANUAL.read_text()):
        for name in re.findall(r"`([a-z_]+)`", names):
            found[name] = (kind, tuple(re.findall(r"`([a-z_]+)`", labels)))
    return found


def test_the_manual_tells_of_every_metric_with_its_type_and_labels() -> None:
    assert {name: (shape.kind, shape.labels) for name, shape in defined().items()} == documented()


@pytest.mark.parametrize("shape", defined().values(), ids=lambda shape: shape.name)
def test_names_follow_the_conventions(shape: Shape) -> None:
    """https://prometheus.io/docs/practices/naming/"""
    assert shape.name.startswith(("hotswap_", "process_"))
    assert shape.name.endswith("_total") == (shape.kind == "counter")
    assert shape.help.endswith(".")
    if shape.kind == "histogram":
        assert shape.name.endswith("_seconds")
    assert not shape.name.removesuffix("_total").endswith(("_ms", "_kb", "_count", "_sum", "_bucket"))


def test_no_gauge_differs_from_a_counter_in_total_only() -> None:
    """To OpenMetrics they would be one family."""
    names = {*defined()}
    assert not {name for name in names if f"{name}_total" in names}
