"""What a sidecar has counted: of a real proxy, to the unit, through upgrades and a crash; and sums of what is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotswap.control_client import ControlClient
from shm_metrics import Collected, Member, Shape, exponential, plain
from shm_metrics.exposition import Exposition
from shm_metrics.names import segment_name
from tests.kit import bolt
from tests.kit.bolt_upstream import Wish
from tests.kit.client import Client
from tests.kit.ports import loopback
from tests.kit.processes import PATIENCE, Instance
from tests.kit.stage import BREEZE, Edge, Stage
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import eventually
from vm_agent.lifecycle.vitals import TALLY, Buckets, Vitals, counted, of_families, tallied, told

BOUNDS = (0.1, 0.2, 0.4)


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    try:
        yield made
        made.show()
    finally:
        made.close()


# ---- of a real proxy ----


@dataclass
class Seen:
    """What clients saw."""

    requests: int = 0
    failed: int = 0
    timed: int = 0

    def add(self, requests: int, failed: int = 0, timed: int = -1) -> None:
        self.requests += requests
        self.failed += failed
        self.timed += requests if timed < 0 else timed


@dataclass
class Scene:
    """A proxy of all three protocols, each with a listener whose endpoint is dead."""

    stage: Stage
    behind: Upstreams
    edge: Edge = field(init=False)
    seen: Seen = field(default_factory=Seen)

    def __post_init__(self) -> None:
        edge = self.edge = Edge(self.stage, self.behind)
        config = edge.instance.config
        self.dead_raw, self.dead_rpc = loopback(), loopback()
        config["clusters"].append({"name": "dead", "endpoints": [loopback()]})
        config["listeners"] += [
            {"name": "dead-raw", "address": self.dead_raw, "protocol": "tcp", "cluster": "dead"},
            {"name": "dead-rpc", "address": self.dead_rpc, "protocol": "bolt", "cluster": "dead"},
        ]
        config["listeners"][0]["routes"].insert(0, {"match": {"prefix": "/dead"}, "cluster": "dead"})
        edge.instance.write_config()

    @property
    def instance(self) -> Instance:
        return self.edge.instance

    def look(self) -> Vitals | None:
        return counted(segment_name(self.instance.name, self.instance.runtime_dir), 1.0)

    def traffic(self) -> None:
        """Some of everything, good and bad."""
        with Client(self.edge.web) as web:
            assert [web.ask("/bytes?n=10").status for _ in range(7)] == [200] * 7
            assert [web.ask("/nowhere").status for _ in range(3)] == [404] * 3
            assert [web.ask("/dead").status for _ in range(2)] == [503] * 2
        self.seen.add(12, failed=2)
        for _ in range(3):
            with Client(self.edge.raw):
                self.seen.add(1, timed=0)
        with Client(self.dead_raw) as stranded:
            assert stranded.ended()
        self.seen.add(1, failed=1, timed=0)
        assert [status(self.edge.rpc, number) for number in range(1, 5)] == [0] * 4
        assert status(self.dead_rpc, 1) != 0
        self.seen.add(5, failed=1, timed=4)

    def check(self) -> Vitals:
        """What is counted is what was seen: once it is there, and for good."""

        def same() -> Vitals | None:
            found = self.look()
            assert found is not None
            assert found.requests <= self.seen.requests
            assert found.failed <= self.seen.failed
            mine = Seen(found.requests, found.failed, found.timed.total)
            return found if mine == self.seen else None

        found = eventually(same, within=PATIENCE, what=f"{self.seen} is counted, and not {self.look()}")
        assert found is not None
        return found


def status(address: str, number: int) -> int:
    """Of the answer to one call."""
    with Client(address) as client:
        client.send(bolt.call(bolt.DIALECTS[0], number, Wish().content(b"x")))
        frames: list[bolt.Frame] = []
        reader = bolt.FrameReader()
        while not frames:
            assert client.more(), "it closed the connection"
            frames += reader.feed(client.unread)
            client.unread = b""
        return frames[0].timeout


@pytest.fixture
def scene(stage: Stage) -> Scene:
    scene = Scene(stage, stage.upstreams(*((kind, "127.0.0.1:0") for kind in ("http", "tcp", "bolt"))))
    scene.instance.start()
    return scene


def test_figures_are_what_clients_saw_through_upgrades_a_rollback_and_a_crash(scene: Scene) -> None:
    instance = scene.instance
    first = scene.check()
    assert (first.requests, first.failed, first.crashes, first.timed.total) == (0, 0, 0, 0)
    scene.traffic()
    before = scene.check()
    instance.change_config()
    assert instance.upgrade("--require-all").exit_code == 0
    scene.traffic()
    since = scene.check().since(before)
    assert (since.requests, since.failed, since.timed.total) == (21, 4, 16)
    assert since.error_rate == pytest.approx(4 / 21)
    p99 = since.percentile(0.99)
    assert p99 is not None
    assert 0.0 < p99 < PATIENCE
    assert instance.hotswap("rollback", instance.name).returncode == 0
    scene.traffic()
    scene.check()
    instance.kill(instance.status().pid)
    assert scene.look() is None, "nobody counts"
    instance.start()
    scene.traffic()
    assert scene.check().requests == 4 * 21


def test_what_a_new_configuration_lacks_stays_counted(scene: Scene) -> None:
    """Listeners and routes that are gone are not shown any more; a sum of what is shown would fall."""
    scene.traffic()
    scene.check()
    config = scene.instance.config
    config["listeners"] = [one for one in config["listeners"] if one["name"] in {"web", "raw"}]
    config["listeners"][0]["routes"] = config["listeners"][0]["routes"][-1:]
    scene.instance.write_config()
    assert scene.instance.upgrade().exit_code == 0
    scene.check()


def test_other_buckets_do_not_hide_what_is_measured(scene: Scene) -> None:
    scene.traffic()
    before = scene.check()
    scene.instance.config["metrics"] = {"buckets": 7}
    scene.instance.write_config()
    assert scene.instance.upgrade().exit_code == 0
    scene.traffic()
    eventually(lambda: _since(scene, before).timed.total == 16, within=PATIENCE, what="the new ones are timed")
    assert len(_since(scene, before).timed.bounds) == 7
    assert scene.instance.hotswap("rollback", scene.instance.name).returncode == 0
    scene.instance.config.pop("metrics")


def _since(scene: Scene, before: Vitals) -> Vitals:
    found = scene.look()
    assert found is not None
    return found.since(before)


def test_a_response_that_breaks_off_has_failed_whatever_its_code(scene: Scene) -> None:
    with Client(scene.edge.web) as client:
        client.get("/half?token=x&n=200")
        head = client.head()
        assert head.status == 200
        scene.behind.held("x")
        scene.behind.stop()
        came = b""
        with suppress(ConnectionResetError):
            came = client.rest()
        assert len(came) < int(head.fields["content-length"])
    scene.seen.add(1, failed=1)
    scene.check()


def test_without_a_name_the_control_socket_tells(stage: Stage) -> None:
    edge = stage.edge(metrics={"shared": False})
    with Client(edge.web) as web:
        assert web.ask("/bytes?n=10").status == 200
        assert web.ask("/nowhere").status == 404
    assert counted(segment_name("edge", edge.instance.runtime_dir), 1.0) is None
    client = ControlClient(edge.instance.runtime_dir, "edge")
    found = told(client.fetch("/metrics", "application/json"), 5.0)
    assert found is not None
    assert (found.requests, found.failed, found.crashes, found.at) == (2, 0, 0, 5.0)


def test_a_tally_is_that_of_the_bake(stage: Stage) -> None:
    edge = stage.edge()
    assert tallied(edge.instance.ask("/status"), 1.0) is None
    baking = edge.instance.start_upgrade("--bake", "60s")
    eventually(lambda: edge.instance.ask("/status")["baking"], within=PATIENCE, what="it bakes")
    with Client(edge.web) as web:
        assert web.ask("/bytes?n=10").status == 200
    found = tallied(edge.instance.ask("/status"), 1.0)
    assert found == Vitals(requests=1, at=1.0, origin=f"{TALLY} of generation 2")
    baking.kill()


@pytest.mark.all
def test_under_load_nothing_fails_and_nothing_is_missing(stage: Stage) -> None:
    edge = stage.edge()
    load = edge.load(BREEZE.only("busy", "raw"))
    for _ in range(3):
        assert edge.instance.upgrade("--require-all").exit_code == 0
    report = load.finish()
    assert report.failures == []
    exchanges = report.exchanges["busy"] + BREEZE.busy  # each is proven once more

    def figures() -> tuple[int, int, int, int]:
        found = counted(segment_name("edge", edge.instance.runtime_dir), 1.0)
        assert found is not None
        return found.requests, found.failed, found.crashes, found.timed.total

    expected = (exchanges + BREEZE.raw, 0, 0, exchanges)
    eventually(lambda: figures() == expected, within=PATIENCE, what=f"{expected} are counted, and not {figures()}")


# ---- of what is told ----


def family(name: str, labels: tuple[str, ...], members: Mapping[Any, float]) -> Collected:
    return Collected(Shape(name, "counter", "x", labels), [Member(one, [value]) for one, value in members.items()])


def durations(name: str, labels: tuple[str, ...], members: Mapping[Any, list[float]]) -> Collected:
    shape = Shape(name, "histogram", "x", labels, BOUNDS)
    return Collected(shape, [Member(values, [1.0, *cells]) for values, cells in members.items()])


REQUESTS = family(
    "hotswap_requests_total",
    ("listener", "route", "code"),
    {
        ("a", "/", "2xx"): 5.0,
        ("a", "/", "4xx"): 3.0,
        ("a", "/", "5xx"): 2.0,
        ("b", "", "ok"): 7.0,
        ("b", "", "error"): 1.0,
    },
)
CONNECTIONS = family(
    "hotswap_downstream_connections_total",
    ("listener", "protocol", "encryption"),
    {("a", "http1", "plain"): 50.0, ("c", "tcp", "plain"): 4.0, ("c", "tcp", "tls"): 1.0, ("b", "bolt", "tls"): 9.0},
)
FAILURES = family(
    "hotswap_downstream_failures_total",
    ("listener", "reason"),
    {("a", "broken_off"): 1.0, ("c", "no_endpoint"): 2.0},
)
BUGS = family("hotswap_bugs_total", (), {(): 3.0})


def found(*families: Collected) -> Vitals:
    vitals = of_families(families, 1.0)
    assert vitals is not None
    return vitals


def test_sums_are_by_the_table() -> None:
    vitals = found(REQUESTS, CONNECTIONS, FAILURES, BUGS)
    assert (vitals.requests, vitals.failed, vitals.crashes) == (18 + 5, 3 + 3, 3)
    assert found(REQUESTS).failed == 3
    assert found(CONNECTIONS).requests == 5


def test_calls_of_bolt_are_timed_at_their_endpoints() -> None:
    here = durations("hotswap_request_duration_seconds", ("listener", "route"), {("a", "/"): [1, 2, 3, 4]})
    there = durations(
        "hotswap_upstream_request_duration_seconds",
        ("cluster", "endpoint"),
        {("app", "x"): [100, 0, 0, 0], ("calls", "x"): [0, 0, 0, 6], ("calls", "y"): [1, 0, 0, 0]},
    )
    labels = ("cluster", "endpoint", "code")
    answers = {("app", "x", "2xx"): 100.0, ("calls", "x", "ok"): 6.0, ("calls", "x", "error"): 0.0}
    spoken = family("hotswap_upstream_requests_total", labels, answers)
    assert found(REQUESTS, here, there, spoken).latency == (Buckets(BOUNDS, (2, 2, 3, 10)),)


def test_the_same_in_json() -> None:
    families = [REQUESTS, CONNECTIONS, FAILURES, BUGS]
    body = b"".join(Exposition().pieces(families, "json"))
    assert plain.parsed(body) != []
    assert told(body, 1.0) == msgspec.structs.replace(found(*families), origin="GET /metrics")


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"families":[]}', b'{"families":[{"name":1}]}'])
def test_what_is_no_metrics_of_a_proxy_is_none(body: bytes) -> None:
    assert told(body, 1.0) is None


@pytest.mark.parametrize(
    "baking",
    [None, 5, "x", {}, {"requests": "9", "failed": 0, "crashes": 0}, {"requests": -1, "failed": 0, "crashes": 0}],
)
def test_a_tally_that_makes_no_sense_is_none(baking: object) -> None:
    assert tallied({"baking": baking, "generation": 3}, 1.0) is None


# ---- values ----


def vitals(requests: int, failed: int = 0, crashes: int = 0, at: float = 0.0, origin: str = "here") -> Vitals:
    return Vitals(requests=requests, failed=failed, crashes=crashes, at=at, origin=origin)


TALLY_2, TALLY_3 = f"{TALLY} of generation 2", f"{TALLY} of generation 3"


@pytest.mark.parametrize(
    ("earlier", "later", "figures"),
    [
        (vitals(10, 1, 0, 5.0), vitals(30, 4, 2, 9.0), (20, 3, 2)),
        (vitals(10, 1, 0, 5.0), vitals(10, 1, 0, 9.0), (0, 0, 0)),
        (vitals(10, 1, 0, 5.0), vitals(4, 0, 0, 9.0), (4, 0, 0)),
        (vitals(10, 1, 0, 5.0), vitals(30, 4, 2, 9.0, "there"), (20, 3, 2)),
        (vitals(10, 1, 0, 5.0), vitals(4, 0, 0, 9.0, "there"), (0, 0, 0)),
        (vitals(10, 1, 0, 5.0), vitals(30, 4, 2, 9.0, TALLY_3), (30, 4, 2)),
        (vitals(10, 1, 0, 5.0, TALLY_2), vitals(30, 4, 2, 9.0, TALLY_3), (30, 4, 2)),
        (vitals(10, 1, 0, 5.0, TALLY_3), vitals(30, 4, 2, 9.0, TALLY_3), (20, 3, 2)),
        (vitals(10, 1, 0, 5.0, TALLY_3), vitals(30, 4, 2, 9.0), (0, 0, 0)),
    ],
)
def test_a_difference_is_never_negative(earlier: Vitals, later: Vitals, figures: tuple[int, int, int]) -> None:
    since = later.since(earlier)
    assert (since.requests, since.failed, since.crashes) == figures
    assert (since.at, since.seconds) == (9.0, 4.0)


def test_buckets_are_subtracted_by_their_bounds() -> None:
    other = exponential(0.5, 2, 2)
    earlier = Vitals(at=0.0, latency=(Buckets(BOUNDS, (1, 1, 1, 1)),))
    later = Vitals(at=1.0, latency=(Buckets(BOUNDS, (1, 3, 0, 1)), Buckets(other, (1, 0, 5))))
    since = later.since(earlier)
    assert since.latency == (Buckets(BOUNDS, (0, 2, 0, 0)), Buckets(other, (1, 0, 5)))
    assert since.timed.bounds == other


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ((0, 0, 0, 0), 0.99, None),
        ((100, 0, 0, 0), 0.99, 0.099),
        ((100, 0, 0, 0), 1.0, 0.1),
        ((100, 0, 0, 0), 0.0, 0.0),
        ((0, 100, 0, 0), 0.5, 0.15),
        ((50, 0, 50, 0), 0.5, 0.1),
        ((50, 0, 50, 0), 0.75, 0.3),
        ((98, 0, 0, 2), 0.99, 0.4),
        ((0, 0, 0, 7), 0.5, 0.4),
    ],
)
def test_percentiles_are_those_of_prometheus(counts: tuple[int, ...], share: float, value: float | None) -> None:
    """https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile"""
    assert Buckets(BOUNDS, counts).percentile(share) == (value if value is None else pytest.approx(value))


def test_too_few_have_no_percentile() -> None:
    few = Vitals(at=0.0, latency=(Buckets(BOUNDS, (9, 0, 0, 0)),))
    assert few.percentile(0.99, least=10) is None
    assert few.percentile(0.99, least=9) is not None
    assert Vitals(at=0.0).percentile(0.99) is None


@pytest.mark.parametrize(("value", "surely", "possibly"), [(0.0, 15, 15), (0.1, 14, 14), (0.15, 12, 14), (9.0, 0, 8)])
def test_what_is_above_a_value_for_sure_and_what_may_be(value: float, surely: int, possibly: int) -> None:
    buckets = Buckets(BOUNDS, (1, 2, 4, 8))
    assert buckets.surely_above(value) == surely
    assert buckets.possibly_above(value) == possibly


def test_vitals_can_be_written_down(tmp_path: Path) -> None:
    one = Vitals(requests=5, failed=1, crashes=2, latency=(Buckets(BOUNDS, (1, 2, 4, 8)),), at=3.5, origin="here")
    file = tmp_path / "vitals.json"
    file.write_bytes(msgspec.json.encode(one))
    assert msgspec.json.decode(file.read_bytes(), type=Vitals) == one
