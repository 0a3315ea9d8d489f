"""The keys of `metrics`."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotswap.settings.problems import InvalidConfig
from proxy.config.loader import loads
from proxy.server import ProxyServer
from shm_metrics.names import segment_name
from tests.proxy.honoured import GET, OK
from tests.proxy.simulation import World

TEXT = """
name: edge
listeners: [{name: web, address: 127.0.0.1:8080, protocol: http1, cluster: app}]
clusters: [{name: app, endpoints: [127.0.0.1:9000, 127.0.0.1:9001]}]
"""


def labels(world: World, name: str, label: str) -> set[str]:
    found = set()
    for shape, members in world.proxy.metrics.collect():
        if shape.name == name:
            found |= {one.values[shape.labels.index(label)] for one in members}
    return found


def served(text: str) -> World:
    world = World(loads(text).config)
    for _ in range(2):
        client = world.connect("web")
        client.send(GET)
        server = world.dialled()
        server.accept()
        server.send(OK)
    return world


def test_endpoints_are_counted_one_by_one() -> None:
    world = served(TEXT)
    assert labels(world, "hotswap_upstream_requests_total", "endpoint") == {"127.0.0.1:9000", "127.0.0.1:9001"}


def test_endpoints_of_a_cluster_may_be_counted_together() -> None:
    world = served(TEXT + "metrics: {per_endpoint: false}")
    assert labels(world, "hotswap_upstream_requests_total", "endpoint") == {""}
    assert world.proxy.families.answers.labels("app", "", "2xx").value == 2


def test_buckets_double_from_the_first() -> None:
    proxy = ProxyServer(loads(TEXT + "metrics: {first_bucket: 1ms, buckets: 4}").config)
    assert proxy.families.durations.shape.bounds == (0.001, 0.002, 0.004, 0.008)
    assert ProxyServer(loads(TEXT).config).families.durations.shape.bounds[:2] == (0.0001, 0.0002)


@pytest.mark.parametrize("wrong", ["{buckets: 0}", "{buckets: 61}", "{first_bucket: 0s}", "{shared: maybe}", "{x: 1}"])
def test_mistakes_are_told_with_their_line(wrong: str) -> None:
    with pytest.raises(InvalidConfig, match="metrics"):
        loads(TEXT + f"metrics: {wrong}")


def test_two_of_one_name_differ_in_where_they_run(tmp_path: Path) -> None:
    assert segment_name("edge", tmp_path) != segment_name("edge", tmp_path / "other")
    assert segment_name("edge", tmp_path).startswith("hotswap-edge-")
