"""That the benchmarks measure what they say; never how fast anything is."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.bench import containers, costs, cpu, memory, metrics, reload, states, tls, upgrade
from tests.bench.loadgen import PROTOCOLS, LoadGenerator, Protocol
from tests.bench.machine import describe
from tests.bench.page import Measured, Result, section, updated
from tests.bench.tables import table
from tests.kit.ports import free_port


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    chosen: Protocol = request.param
    return chosen


@pytest.fixture
def load(protocol: Protocol) -> Iterator[LoadGenerator]:
    """Its clients talk to its upstream, with nothing between."""
    port = free_port()
    with LoadGenerator(protocol, port, port, 20) as generator:
        yield generator


def sweep_and_report(load: LoadGenerator) -> int:
    load.reset()
    assert load.sweep() == 0
    report = load.report()
    assert (report.errors, report.closed) == (0, 0)
    return report.answers


def test_a_sweep_uses_every_connection_once(load: LoadGenerator) -> None:
    assert sweep_and_report(load) == 20


def test_busy_connections_go_on_asking_and_stop_when_told(load: LoadGenerator) -> None:
    load.load(5)
    while load.report().answers < 50:
        pass
    load.load(0)
    load.sweep()
    assert sweep_and_report(load) == 20


def test_paced_load_keeps_its_rate(load: LoadGenerator) -> None:
    load.load(10, 1000)
    load.reset()
    while (report := load.report()).answers < 100:
        pass
    assert report.answers / report.seconds < 1500
    assert report.gap_ms >= 9  # ten take turns: each comes every 10 ms


def test_a_wrong_answer_costs_a_connection_and_is_counted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        port = server.getsockname()[1]
        load = LoadGenerator("echo", None, port, 1)
        try:
            client, _ = server.accept()
            with client:
                client.settimeout(10)
                question = client.recv(4096)
                client.sendall(question)
                load.connect()
                load.load(1)
                client.sendall(client.recv(4096)[::-1])
                assert client.recv(1) == b""  # it gave up on us
            report = load.report()
            assert (report.errors, report.closed) == (1, 1)
        finally:
            load.close()


def test_best_is_the_mean_of_the_best_fifth() -> None:
    row = cpu.Row("hotswap", "1", [float(n) for n in range(10, 0, -1)], [1.0])
    assert (row.best, row.median) == (1.5, 5.5)


def test_the_ratio_refers_to_nginx() -> None:
    rows = [cpu.Row("hotswap", "1", [30.0], [1.0]), cpu.Row("nginx", "1", [20.0], [1.0])]
    assert cpu.Comparison("http", rows).ratio(rows[0]) == 1.5
    assert cpu.Comparison("http", rows[:1]).ratio(rows[0]) is None


COMPARED = cpu.Comparison("echo", [cpu.Row("hotswap", "1", [9.0], [1.0])])
UPGRADED = upgrade.Row("echo", 100, 10, 1000.0, [1.0, 3.0], {"copy": [1.0, 2.0]}, [0.5, 0.25], [4.0, 4.0], [0.5, 0.5])
UPGRADED.stall_p99, UPGRADED.cpu, UPGRADED.peak = [0.125, 0.375], [0.4, 0.5], [64 << 20, 66 << 20]
FAILED = upgrade.Row("echo", 9000, 90, 1000.0, [], {}, [], [], [0.5], failed=1, problems=["refused"])
MEMORY = memory.Result([memory.Row("hotswap", "echo", 10, 1000, 11000)])
STATES = states.Result([states.Row("TLS 1.3", 229, 3.6, 16.3)])
UPGRADE = upgrade.Result([UPGRADED, FAILED])
CONTAINERS = containers.Result([containers.Row(True, 144, [0.5, 0.7], [2.0, 4.0], [0.04, 0.06])])
RELOAD = reload.Result([reload.Row("nginx", "1", "nginx -s reload", "http", 100, 0, 1)])


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (cpu.Result([COMPARED], {"Envoy": "PyPI"}), ["Envoy was not installed", "TCP relay, 1 KB echo"]),
        (UPGRADE, ["2.0 / 3.0", "1 of 1", "0.2 / 0.4", "450 / 500", "65.0 / 66.0"]),
        (RELOAD, ["0 of 100"]),
        (CONTAINERS, ["of 2 takeovers", "0.60 / 0.70", "3.0 / 4.0", "0.05 / 0.06"]),
        (MEMORY, ["| 1000 "]),
        (
            tls.Result([COMPARED], {"Envoy": "PyPI"}, MEMORY, UPGRADE, STATES, RELOAD),
            ["Envoy was not installed", "TCP relay", "### Upgrade", "2.0 / 3.0", "16.3", "0 of 100", "| 1000 "],
        ),
    ],
)
def test_a_part_is_shown_with_its_circumstances(result: Result, shown: list[str]) -> None:
    where = describe()
    text = section(Measured(where, result))
    assert text.count(where.processor) == 1
    for words in shown:
        assert words in text


def test_what_was_not_measured_again_stays_on_the_page() -> None:
    where = describe()
    page = updated("", Measured(where, MEMORY))
    page = updated(page, Measured(where, tls.Result([COMPARED], {}, MEMORY, UPGRADE, STATES, RELOAD)))
    page = updated(page, Measured(where, cpu.Result([COMPARED], {})))
    parts = ["# Benchmarks", "## CPU per request", "## TLS", "## Memory per idle connection"]
    assert [line for line in page.splitlines() if line.startswith(("# ", "## "))] == parts
    assert updated(page, Measured(where, MEMORY)) == page


def test_tables_are_aligned() -> None:
    assert table(["a", "long"], [["wide", "b"]]).splitlines() == [
        "| a    | long |",
        "|------|------|",
        "| wide | b    |",
    ]


@pytest.mark.all
def test_the_sheet_of_costs_compares_a_feature_with_the_bare_proxy() -> None:
    result = costs.measure(costs.Plan(rounds=1, seconds=0.05, only=("limits",)), lambda _: None)
    assert [(one.feature, one.protocol) for one in result.costs] == [
        ("limits", protocol) for protocol in costs.PROTOCOLS
    ]
    assert all(one.bare.best > 0 and one.row.best > 0 and not one.row.errors for one in result.costs)
    assert "| limits" in section(Measured(describe(), result))


def test_an_upgrade_is_measured_with_what_it_costs_clients_and_the_machine() -> None:
    plan = upgrade.Plan(connections=(50,), busy_percent=(10,), upgrades=1, weighed=1)
    (row,) = upgrade.measure(plan, lambda _: None).rows
    assert (row.lost, row.failed, row.problems) == (0, 0, [])
    assert len(row.stall) == len(row.stall_p99) == 1
    assert row.command[0] > 0
    assert row.cpu[0] > 0
    assert 1.2 * row.before[0] < row.peak[0] < 10 * row.before[0]  # two interpreters, whatever they share


def test_copies_with_tls_are_larger_than_plain_ones() -> None:
    rows = states.measure(states.Plan(connections=3, rounds=1), lambda _: None).rows
    assert [row.client for row in rows] == ["plain", "TLS 1.2", "TLS 1.3"]
    assert rows[0].size < min(rows[1].size, rows[2].size)
    assert all(row.save > 0 and row.restore > 0 for row in rows)


def test_metrics_are_clocked_and_counted() -> None:
    result = metrics.measure(metrics.Plan(rounds=2, calls=10, scrapes=1, workers=2, deaths=3), lambda _: None)
    rows = {row.name: row for row in result.rows}
    assert {*rows, *result.missing} == {*metrics.NAMES.values()}
    assert all(min(rounds) > 0 for row in result.rows for rounds in [*row.calls.values(), row.scrapes])
    assert rows["prometheus_client"].left is None
    for row in result.rows:
        if row.left:  # one in each life of a worker; the gauge is of those who live
            assert (row.left.counter, row.left.gauge) == (2 + 3, 2)
    ours, theirs = rows["shm_metrics, Python"].left, rows["prometheus_client, multiprocess"].left
    assert ours
    assert theirs
    assert ours.files == 1
    assert theirs.files > 2 * (2 + 3)
    assert "| shm_metrics, Python " in section(Measured(describe(), result))
