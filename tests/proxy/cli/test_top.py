"""What `hotswap top` makes of two looks."""

from __future__ import annotations

import io
import sys

import msgspec
import pytest
from click.testing import CliRunner

from hotswap.errors import HotswapError
from proxy.cli import top as command
from proxy.cli import watching
from proxy.cli.picture import Look, last_upgrade, picture, quantile
from proxy.cli.top import as_plain, lines
from proxy.metrics.families import Families
from shm_metrics import Process, Registry
from shm_metrics.processes import families as of_processes
from tests.proxy.cli.looks import Looks

BOUNDS = (1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("share", "counts", "expected"),
    [
        (0.5, [0, 0, 0, 0], None),
        (0.5, [10, 0, 0, 0], 0.5),
        (0.5, [0, 10, 0, 0], 1.5),
        (0.99, [0, 0, 100, 0], 3.98),
        (0.5, [5, 5, 0, 0], 1.0),
        (0.99, [0, 0, 0, 5], 4.0),
        (1.0, [1, 0, 1, 0], 4.0),
    ],
)
def test_quantiles_are_those_of_prometheus(share: float, counts: list[float], expected: float | None) -> None:
    assert quantile(share, BOUNDS, counts) == (None if expected is None else pytest.approx(expected))


def test_quantile_of_no_histogram() -> None:
    assert quantile(0.5, (), []) is None


class Proxy:
    def __init__(self) -> None:
        self.registry = Registry()
        self.families = Families(self.registry)
        self.families.downstream_now.labels("web", "http1", "tls").set(3)
        self.families.healthy.labels("app", "10.0.0.1:80").set(1)
        self.families.healthy.labels("app", "10.0.0.2:80").set(0)
        self.families.upstream_now.labels("app", "10.0.0.1:80", "plain", "idle").set(2)
        self.families.upstream_now.labels("app", "10.0.0.1:80", "plain", "active").set(1)

    def serve(self, count: int, seconds: float, code: str = "2xx") -> None:
        for _ in range(count):
            self.families.requests.labels("web", "*", code).inc()
            self.families.durations.labels("web", "*").observe(seconds)
            self.families.answers.labels("app", "10.0.0.1:80", code).inc()

    def look(self, at: float, cpu: float = 0.0) -> Look:
        process = Process(7, 1.0, cpu, 45e6, 20, 1024)
        return Look([*self.registry.collect(), *of_processes([process])], at)


def test_rates_are_what_happened_between_two_looks() -> None:
    proxy = Proxy()
    proxy.serve(50, 9.0)
    before = proxy.look(100.0, cpu=1.0)
    proxy.serve(30, 0.0015)
    proxy.serve(10, 0.0015, "5xx")
    proxy.families.upstream_resets.labels("app", "10.0.0.1:80").inc(2)
    screen = picture(before, proxy.look(102.0, cpu=1.5))
    assert (screen.traffic.rate, screen.traffic.failed) == (20.0, 0.25)
    assert screen.traffic.quantiles[2] == pytest.approx(0.0016, rel=0.05)
    assert screen.connections == {("http1", "tls"): 3}
    (listener,), (cluster,), (process,) = screen.listeners, screen.clusters, screen.processes
    assert (listener.name, listener.connections, listener.traffic.rate) == ("web", 3, 20.0)
    assert (cluster.healthy, cluster.endpoints, cluster.connections, cluster.idle) == (1, 2, 3, 2)
    assert cluster.troubles["reset"] == 1.0
    assert (process.generation, process.cpu, process.descriptors) == ("7", 0.25, 20)


def test_the_first_look_tells_what_is_now_and_no_rates() -> None:
    proxy = Proxy()
    proxy.serve(50, 9.0)
    screen = picture(None, proxy.look(100.0))
    assert screen.traffic.rate == 0
    assert screen.traffic.quantiles == (None, None, None)
    assert screen.connections == {("http1", "tls"): 3}
    assert screen.processes[0].cpu is None


def test_a_proxy_that_counts_nothing_yet_is_a_picture_as_well() -> None:
    screen = picture(None, Look([], 0.0))
    assert (screen.listeners, screen.clusters, screen.processes) == ([], [], [])
    assert lines("edge", {}, screen)


def test_lines_tell_it_to_people() -> None:
    proxy = Proxy()
    before = proxy.look(0.0)
    proxy.serve(100, 0.003)
    proxy.families.connect_failures.labels("app", "10.0.0.1:80", "refused").inc(5)
    text = "\n".join(lines("edge", {"state": "serving", "version": "1.2"}, picture(before, proxy.look(1.0))))
    for part in ("edge  generation 0  serving  version 1.2", "100.0/s", "not connected 5.0/s", "1/2", "42.9 MB"):
        assert part in text
    assert "started cold" in text


def test_what_strangers_named_does_not_drive_the_terminal() -> None:
    proxy = Proxy()
    proxy.families.downstream_now.labels("a\x1b[2J", "http1", "plain").set(1)
    assert "\x1b" not in "\n".join(lines("edge", {}, picture(None, proxy.look(0.0))))


def test_programs_get_the_same() -> None:
    told = as_plain(picture(None, Proxy().look(0.0)))
    assert told["connections"] == [{"protocol": "http1", "encryption": "tls", "now": 3}]
    assert told["clusters"][0]["endpoints"] == 2


@pytest.mark.parametrize(
    ("last", "text"),
    [
        (None, ""),
        ({"ok": False, "message": "no"}, "failed: no"),
        (
            {"ok": True, "how": "rollback", "generation": 3, "downtime_ms": 2.25, "connections": 9},
            "rollback to generation 3, 2.2 ms downtime, 9 connections moved",
        ),
        ({"ok": True, "generation": 3}, "upgrade to generation 3"),
    ],
)
def test_last_upgrade_in_a_line(last: object, text: str) -> None:
    assert last_upgrade({"last_upgrade": last}) == text


# ---- the command ----


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """What commands look at."""

    class Client:
        def get(self, _path: str) -> dict[str, object]:
            return {"state": "serving", "version": "1.2"}

    one = Proxy()
    monkeypatch.setattr(command, "client_of", lambda _folder, _name: Client())
    monkeypatch.setattr(command, "look", lambda _client: one.registry.collect())
    return one


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_than_on_a_terminal_one_picture_is_told(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    Looks(monkeypatch, lambda: proxy.serve(30, 0.001))
    told = CliRunner().invoke(command.top, ["edge", "--interval", "3s"])
    assert told.exit_code == 0
    assert "10.0/s" in told.stdout
    assert told.stdout.count("GENERATION") == 1


def test_json_is_that_picture(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    Looks(monkeypatch, lambda: proxy.serve(30, 0.001))
    told = CliRunner().invoke(command.top, ["edge", "--json"])
    assert msgspec.json.decode(told.stdout)["traffic"]["rate"] == 30.0


def test_a_terminal_is_watched_until_it_is_enough(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a time in which nobody answers."""

    def gone() -> None:
        monkeypatch.setattr(command, "look", absent)

    def back() -> None:
        monkeypatch.setattr(command, "look", lambda _client: proxy.registry.collect())

    def absent(_client: object) -> None:
        raise HotswapError("edge: nobody answers")

    Looks(monkeypatch, lambda: proxy.serve(20, 0.001), gone, None, back)
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    with pytest.raises(SystemExit) as ended:
        command.top.main(["edge"], prog_name="top", standalone_mode=False)
    assert ended.value.code == 0
    pictures = screen.getvalue().split(watching.HOME)[1:]
    assert len(pictures) == 3
    assert "20.0/s" in pictures[1]
    assert screen.getvalue().startswith(watching.ENTER)
    assert screen.getvalue().endswith(watching.LEAVE)
