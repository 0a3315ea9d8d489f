"""That the proxies under comparison terminate TLS, each with the configuration that the benchmark gives it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench import cpu, h2load, tls
from tests.bench.configurations import CALLS
from tests.bench.loadgen import LoadGenerator, Protocol, Tls
from tests.bench.proxies import Hall, Proxy
from tests.kit.programs import program
from tests.kit.tls import VERSIONS, Version

CLIENTS = 4


@pytest.fixture(params=["hotswap", *(pytest.param(name, marks=pytest.mark.all) for name in ("nginx", "haproxy"))])
def proxy(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    with Hall(tls=True) as hall:
        if request.param != "hotswap":
            program(request.param)
        started = {"hotswap": hall.hotswap, "nginx": hall.nginx, "haproxy": hall.haproxy}[request.param]()
        assert started is not None, hall.missing
        yield started


def test_every_listener_terminates_tls(proxy: Proxy) -> None:
    protocols: tuple[Protocol, ...] = ("echo", "http", *CALLS)
    for protocol in protocols:
        for version in VERSIONS:
            with LoadGenerator(
                protocol, proxy.upstreams[protocol], proxy.ports[protocol], CLIENTS, tls=Tls(version)
            ) as load:
                load.reset()
                assert load.sweep() == 0
                assert (load.report().errors, load.report().closed) == (0, 0)


@pytest.mark.parametrize("version", [pytest.param("1.2", marks=pytest.mark.all), "1.3"])
def test_every_load_gives_figures(version: Version) -> None:
    loads = [load for load in tls.LOADS if load.tls is not None and load.tls.version == version]
    with Hall(tls=True) as hall:
        proxies = {"hotswap": hall.hotswap()}
        for load in loads:
            (row,) = cpu.compare(load, proxies, 1, 0.1, lambda _: None).rows
            assert (row.errors, len(row.rounds)) == (0, 1), load.what
            assert min(row.best, row.rate) > 0


@pytest.mark.all
def test_h2load_asks_and_is_answered(proxy: Proxy) -> None:
    program("h2load")
    (row,) = h2load.compare(tls.BY_H2LOAD, {proxy.name: proxy}, 1, 1000, lambda _: None).rows
    assert (row.errors, len(row.rounds)) == (0, 1)
    assert min(row.best, row.rate) > 0
