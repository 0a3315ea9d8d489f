"""A real Prometheus scrapes through upgrades: what it computes is what was sent, to the unit."""

from __future__ import annotations

import json
import re
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from tests.kit.client import Client
from tests.kit.ports import loopback
from tests.kit.programs import program
from tests.kit.scraper import ask
from tests.kit.stage import Stage
from tests.kit.waiting import eventually

UPGRADES = 10
REQUESTS = 150  # before and after each upgrade
DASHBOARD = Path(__file__).parents[2] / "grafana" / "hotswap.json"

pytestmark = [pytest.mark.all, pytest.mark.timeout(300)]

CONFIGURATION = """
global: {scrape_interval: 200ms, scrape_timeout: 200ms}
scrape_configs:
- job_name: hotswap
  static_configs: [{targets: ['%s']}]
"""


class Prometheus:
    """A server of its own, on loopback, with its files in a directory of the test."""

    def __init__(self, stage: Stage, target: str) -> None:
        self.address = loopback()
        folder = stage.directory / "prometheus"
        folder.mkdir()
        configuration = folder / "prometheus.yml"
        configuration.write_text(CONFIGURATION % target)
        options = [f"--config.file={configuration}", f"--storage.tsdb.path={folder}/data"]
        options += [f"--web.listen-address={self.address}", "--query.lookback-delta=10s", "--log.level=warn"]
        prometheus = program("prometheus")
        environment = {"PATH": "/usr/bin:/bin"}
        stage.offspring.start([prometheus, *options], env=environment, cwd=folder, stderr=folder / "log")
        eventually(self._ready, within=30, what="Prometheus is ready")

    def _ready(self) -> bool:
        try:
            return "Ready" in ask(self.address, "/-/ready", 2)
        except (OSError, AssertionError):
            return False

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The result of an instant query."""
        asked = {"query": expression} | ({} if at is None else {"time": f"{at:.3f}"})
        answer = json.loads(ask(self.address, f"/api/v1/query?{urllib.parse.urlencode(asked)}"))
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def samples(self, expression: str) -> list[tuple[float, float]]:
        """All samples of one series: when, and what."""
        (series,) = self.query(f"{expression}[10m]")
        return [(float(when), float(value)) for when, value in series["values"]]


def test_increase_over_upgrades_is_what_was_sent(stage: Stage) -> None:
    """From sample to sample: between samples `increase` guesses, by its nature, what came before the first one."""
    admin = loopback()
    edge = stage.edge(admin=admin)
    prometheus = Prometheus(stage, admin)
    series = 'hotswap_requests_total{code="2xx",route=~".+"}'

    def seen(count: int) -> bool:
        return any(value == count for _, value in prometheus.samples(series)[-1:])

    eventually(lambda: prometheus.query(series), within=20, what="the first scrape")
    sent = 0
    with Client(edge.web) as client:
        for _ in range(UPGRADES):
            for _ in range(REQUESTS):
                assert client.ask("/bytes?n=10").status == 200
            assert edge.instance.upgrade("--require-all").exit_code == 0
            for _ in range(REQUESTS):
                assert client.ask("/bytes?n=10").status == 200
            sent += 2 * REQUESTS
    eventually(lambda: seen(sent), within=20, what="everything is scraped")
    samples = prometheus.samples(series)
    values = [value for _, value in samples]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0, sent)
    first, last = samples[0][0], samples[-1][0]
    window = round((last - first) * 1000)
    (increase,) = prometheus.query(f"increase({series}[{window}ms])", at=last)
    assert float(increase["value"][1]) == pytest.approx(sent, abs=1e-6)
    (resets,) = prometheus.query(f"resets({series}[{window}ms])", at=last)
    assert resets["value"][1] == "0"
    (up,) = prometheus.query(f"min_over_time(up[{window}ms])", at=last)
    assert up["value"][1] == "1", "a scrape failed"
    (changes,) = prometheus.query(f"changes(hotswap_generation[{window}ms])", at=last)
    assert int(changes["value"][1]) == UPGRADES


def test_every_panel_of_the_dashboard_can_be_computed(stage: Stage) -> None:
    """Each expression is one that Prometheus understands, and every name in it one that the proxy exposes."""
    admin = loopback()
    edge = stage.edge(admin=admin)
    prometheus = Prometheus(stage, admin)
    with Client(edge.web) as client:
        assert client.ask("/bytes?n=10").status == 200
    eventually(lambda: prometheus.query("hotswap_generation"), within=20, what="the first scrape")
    exposed = ask(admin)
    dashboard = json.loads(DASHBOARD.read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    expressions += [one["expr"] for one in dashboard["annotations"]["list"]]
    assert len(expressions) > 30
    for expression in expressions:
        ready = re.sub(r"\$(instance|listener|cluster)\b", ".*", expression).replace("$__rate_interval", "1m")
        prometheus.query(ready)
        for name in re.findall(r"\b(?:hotswap|process)_[a-z_]+", ready):
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            assert f"# TYPE {family} " in exposed or f"# TYPE {name} " in exposed, name
