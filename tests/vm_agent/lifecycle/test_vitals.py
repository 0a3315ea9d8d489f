"""What a real proxy has counted: to the unit what clients saw, through upgrades, a rollback and a crash."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from hotswap.control_client import ControlClient
from shm_metrics.names import segment_name
from tests.kit import bolt
from tests.kit.bolt_upstream import Wish
from tests.kit.client import Client
from tests.kit.ports import loopback
from tests.kit.processes import PATIENCE, Instance
from tests.kit.stage import BREEZE, Edge, Stage
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import eventually
from vm_agent.lifecycle.vitals import TALLY, Vitals, counted, tallied, told


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
        with suppress(ConnectionResetError), Client(self.dead_raw) as stranded:  # the reset may be there at once
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


@pytest.mark.all
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


@pytest.mark.all
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


@pytest.mark.all
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
