"""What Prometheus's own tool says of a text."""

from __future__ import annotations

import subprocess

import pytest

from shm_metrics import Registry
from shm_metrics.exposition import Exposition
from tests.kit.programs import program

pytestmark = pytest.mark.all


def test_promtool_has_nothing_to_say() -> None:
    metrics = Registry()
    metrics.counter("shop_requests_total", "Requests.", ("code",)).labels('2"x\\x\n').inc(3)
    metrics.gauge("shop_load_ratio", "A\nload \\ or so.").set(float("nan"))
    metrics.maximum("shop_longest_seconds", "The longest.").set(1e300)
    metrics.histogram("shop_wait_seconds", "Waits.", ("way",)).labels("").observe(0.1)
    text = b"".join(Exposition().pieces(metrics.collect(), "text"))
    done = subprocess.run([program("promtool"), "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
