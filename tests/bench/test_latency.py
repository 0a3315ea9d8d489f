"""That added latency is measured as it says; never how fast anything is."""

from __future__ import annotations

import socket

import pytest

from tests.bench import latency
from tests.bench.loadgen import LoadGenerator, Protocol
from tests.bench.machine import describe
from tests.bench.page import Measured, section
from tests.kit.ports import free_port

PAUSE_MS = 50


@pytest.mark.parametrize("protocol", ["http", "echo"])
def test_an_open_loop_keeps_its_rate(protocol: Protocol) -> None:
    port = free_port()
    with LoadGenerator(protocol, port, port, 8) as load:
        load.load_open(8, 1000)
        load.reset()
        while (report := load.report()).answers < 100:
            pass
        assert 500 < report.answers / report.seconds < 1500
        assert (report.errors, report.closed, report.missed) == (0, 0, 0)


def test_requests_that_wait_for_a_connection_have_waited_since_they_were_due() -> None:
    """One that is answered late keeps the only connection; those that were due meanwhile tell of the same pause."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        load = LoadGenerator("echo", None, server.getsockname()[1], 1)
        try:
            client, _ = server.accept()
            with client:
                client.settimeout(10)
                client.sendall(client.recv(4096))
                load.connect()
                load.load_open(1, 1000)
                load.reset()
                late = client.recv(4096)
                while load.report().seconds < PAUSE_MS / 1000:
                    pass
                client.sendall(late)
                for _ in range(PAUSE_MS // 2):
                    client.sendall(client.recv(4096))
                while (report := load.report()).answers < PAUSE_MS // 2:
                    pass
        finally:
            load.close()
    assert report.worst_us >= PAUSE_MS * 1000 * 0.9
    assert report.p50_us >= PAUSE_MS * 1000 * 0.5  # had they waited from when they were sent, it would be next to none


def test_the_slower_yardstick_decides_on_the_rate() -> None:
    assert latency.rates_of({"hotswap": 30000.0, "nginx": 20000.0, "haproxy": 25000.0}, None) == [10000.0]


def test_a_peer_that_cannot_bear_it_makes_a_second_comparison() -> None:
    assert latency.rates_of({"hotswap": 30000.0, "nginx": 30000.0, "Envoy": 14000.0}, None) == [15000.0, 7000.0]


def test_a_rate_can_be_ordered() -> None:
    assert latency.rates_of({"hotswap": 30000.0, "nginx": 30000.0, "Envoy": 14000.0}, 100.0) == [100.0]


def test_what_is_added_is_compared_within_a_round() -> None:
    direct = latency.Row("none", "", [10.0, 100.0, 10.0], [20.0, 200.0, 20.0])
    row = latency.Row("hotswap", "1", [40.0, 130.0, 50.0], [80.0, 260.0, 90.0], [1.0] * 3)
    table = latency.Table("http", {"hotswap": 3000.0}, 1500.0, [direct, row])
    assert table.added(row) == (30.0, 60.0)
    text = section(Measured(describe(), latency.Result([table], {"Envoy": "PyPI"})))
    assert "of what hotswap adds to p50, 6.7 times as much (HTTP/1.1" in " ".join(text.split())
    for words in ["+30", "+60", "medians of\n3 rounds", "Envoy was not installed", "0.2 ms", "| 3000 "]:
        assert words in text


@pytest.mark.all
def test_a_run_has_every_proxy_beside_none() -> None:
    result = latency.measure(latency.Plan(rounds=1, seconds=0.1, protocols=("echo",), rate=1000), lambda _: None)
    (table,) = result.tables
    assert [row.proxy for row in table.rows][:2] == [latency.DIRECT, "hotswap"]
    assert all(row.p50[0] <= row.p99[0] and not row.errors for row in table.rows)
