"""`hotswap metrics` against a control socket that says what a test wants."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from hotswap.control import Request, Response, Route
from proxy.cli import metrics as command
from proxy.cli import watching
from shm_metrics import Registry
from shm_metrics.exposition import CONTENT_TYPES, Exposition
from shm_metrics.negotiation import chosen
from tests.hotswap.cli.server import FakeServer
from tests.proxy.cli.looks import Looks


class Counting(FakeServer):
    """It answers /metrics from `registry`, or with 500 while it is None."""

    registry: Registry | None

    def __init__(self, runtime_dir: Path) -> None:
        self.registry = made = Registry()
        self.requests = made.counter("hotswap_requests_total", "Requests.", ("listener", "code"))
        self.seconds = made.histogram(
            "hotswap_request_duration_seconds",
            "Durations.",
            ("listener",),
            bounds=(1.0,),
        )
        self.active = made.gauge("hotswap_requests_active", "Under way.")
        self.requests.labels("web", "2xx").inc(5)
        self.requests.labels("api", "5xx").inc(0.5)
        self.seconds.labels("web").observe(0.0000125)
        self.active.set(2)
        super().__init__(runtime_dir)

    def _routes(self) -> dict[tuple[str, str], Route]:
        return {**super()._routes(), ("GET", "/metrics"): self._metrics}

    async def _metrics(self, request: Request) -> Response:
        if self.registry is None:
            return Response.json({"nothing": "of the kind"})
        form = chosen(request.headers["accept"])
        body = b"".join(Exposition().pieces(self.registry.collect(), form))
        return Response(200, body, CONTENT_TYPES[form])


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Counting]:
    with Counting(tmp_path / "run") as server:
        yield server


def test_elsewhere_than_on_a_terminal_it_is_what_prometheus_reads(
    edge: Counting,
) -> None:
    done = edge.run("metrics", "edge")
    assert done.exit_code == 0
    assert edge.registry is not None
    assert done.stdout.encode() == b"".join(Exposition().pieces(edge.registry.collect(), "text"))
    assert {one.name for one in parse_text(done.stdout)} == {
        "hotswap_request_duration_seconds",
        "hotswap_requests",
        "hotswap_requests_active",
    }


def test_json(edge: Counting) -> None:
    families = msgspec.json.decode(edge.run("metrics", "edge", "--json").stdout)["families"]
    assert [(one["name"], one["type"]) for one in families] == [
        ("hotswap_request_duration_seconds", "histogram"),
        ("hotswap_requests_active", "gauge"),
        ("hotswap_requests_total", "counter"),
    ]
    assert families[2]["members"] == [
        {"labels": {"listener": "web", "code": "2xx"}, "value": 5},
        {"labels": {"listener": "api", "code": "5xx"}, "value": 0.5},
    ]


def test_filter_chooses_by_name_and_labels(edge: Counting) -> None:
    def names(pattern: str) -> list[str]:
        lines = edge.run("metrics", "edge", "--filter", pattern).stdout.splitlines()
        return [line.rsplit(" ", 1)[0] for line in lines if not line.startswith("#")]

    assert names("requests") == [
        "hotswap_requests_active",
        'hotswap_requests_total{listener="web",code="2xx"}',
        'hotswap_requests_total{listener="api",code="5xx"}',
    ]
    assert names('^hotswap_requests_total{.*code="5') == ['hotswap_requests_total{listener="api",code="5xx"}']
    assert len(names("_duration_")) == 4
    assert names("nothing") == []
    assert "# TYPE hotswap_requests_total counter" in edge.run("metrics", "edge", "--filter", "5xx").stdout


@pytest.mark.parametrize("arguments", [["--filter", "("], ["--watch", "often"], ["--watch", "0s"]])
def test_what_makes_no_sense_is_refused(edge: Counting, arguments: list[str]) -> None:
    assert edge.run("metrics", "edge", *arguments).exit_code == 2


class Terminal(io.StringIO):
    """As wide as it takes, and `lines` high."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lines: int = 20) -> None:
        super().__init__()
        monkeypatch.setattr(sys, "stdout", self)
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setenv("LINES", str(lines))

    def isatty(self) -> bool:
        return True


def run_here(edge: Counting, *arguments: str) -> None:
    """With the standard output that there is. Raises what the command does."""
    here = ["edge", "--runtime-dir", str(edge.runtime_dir), *arguments]
    command.metrics.main(here, prog_name="metrics", standalone_mode=False)


def test_a_terminal_gets_a_table(edge: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch)
    run_here(edge)
    assert [line.split() for line in terminal.getvalue().splitlines()] == [
        ["metric", "labels", "value"],
        ["hotswap_request_duration_seconds_count", 'listener="web"', "1"],
        ["hotswap_request_duration_seconds_sum", 'listener="web"', "1.25e-05"],
        ["hotswap_requests_active", "2"],
        ["hotswap_requests_total", 'listener="web",code="2xx"', "5"],
        ["hotswap_requests_total", 'listener="api",code="5xx"', "0.5"],
    ]


# ---- again and again ----


def test_watching_tells_rates_of_what_counts(edge: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch, lambda: edge.requests.labels("web", "2xx").inc(15), None)
    done = edge.run("metrics", "edge", "--watch", "5s", "--filter", "requests")
    assert done.exit_code == 0
    assert looks.seconds == [5.0, 5.0, 5.0]
    first, second, third = (look.splitlines()[1:] for look in done.stdout.strip().split("\n\n"))
    assert [line.split()[1:] for line in first] == [
        ["2"],
        ['listener="web",code="2xx"', "5"],
        ['listener="api",code="5xx"', "0.5"],
    ]
    assert [line.split()[1:] for line in second] == [
        ["2"],
        ['listener="web",code="2xx"', "20", "3/s"],
        ['listener="api",code="5xx"', "0.5", "0/s"],
    ]
    assert third[1].endswith("0/s")


def test_watching_looks_every_two_seconds_unless_told(edge: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch)
    assert edge.run("metrics", "edge", "--watch").exit_code == 0
    assert looks.seconds == [2.0]


def test_watching_waits_for_whoever_does_not_answer(edge: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    there = edge.registry

    def go() -> None:
        edge.registry = None

    def come() -> None:
        edge.registry = there

    Looks(monkeypatch, go, None, come)
    done = edge.run("metrics", "edge", "--watch", "1s", "--json")
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) == 2
    assert all(msgspec.json.decode(line)["families"] for line in done.stdout.splitlines())
    assert done.stderr.count("no answer, trying again") == 1


def test_the_first_look_must_succeed(edge: Counting) -> None:
    edge.registry = None
    for arguments in ([], ["--watch"]):
        done = edge.run("metrics", "edge", *arguments)
        assert done.exit_code == 1
        assert "does another version serve it?" in done.stderr
    assert edge.run("metrics", "egde", "--watch").exit_code == 4


def test_a_screen_shows_what_fits(edge: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, lines=6)
    Looks(monkeypatch, None)
    with pytest.raises(SystemExit) as ended:
        run_here(edge, "--watch", "1s")
    assert ended.value.code == 0
    first, second = terminal.getvalue().split(watching.HOME)[1:]
    for screen in (first, second):
        lines = [line.removesuffix(watching.REST_OF_LINE) for line in screen.splitlines()][:-1]
        assert lines[:3] == ["edge", "", lines[2]]
        assert lines[2].startswith("METRIC")
        assert lines[-1] == "... 4 more: choose by --filter"
        assert len(lines) == 5
