"""That the benchmark of HTTP/2 measures what it says; never how fast anything is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench import h2load, http2, layers
from tests.bench.machine import describe
from tests.bench.page import Measured, section
from tests.bench.proxies import Hall, Proxy
from tests.kit.companion import ROOT
from tests.kit.programs import program

STARTED = ["hotswap", *(pytest.param(name, marks=pytest.mark.all) for name in ("nginx", "haproxy"))]


@pytest.fixture(params=http2.LOADS, ids=["plain", "paths", "tls"])
def load(request: pytest.FixtureRequest) -> h2load.Load:
    program("h2load")
    chosen: h2load.Load = request.param
    return chosen


@pytest.fixture(params=STARTED)
def proxy(request: pytest.FixtureRequest, load: h2load.Load) -> Iterator[Proxy]:
    with Hall(tls=load.tls, http2=load.http2) as hall:
        if request.param != "hotswap":
            program(request.param)
        started = {"hotswap": hall.hotswap, "nginx": hall.nginx, "haproxy": hall.haproxy}[request.param]()
        assert started is not None, hall.missing
        yield started


def test_every_stream_is_answered(load: h2load.Load, proxy: Proxy) -> None:
    (row,) = h2load.compare(load, {proxy.name: proxy}, 1, 800, lambda _: None).rows
    assert (row.errors, len(row.rounds)) == (0, 1)
    assert min(row.best, row.rate) > 0
    split = layers.split(load, proxy, 800)
    assert split.own + split.kernel > 0


def test_a_profile_is_of_the_path_of_a_request() -> None:
    program("h2load")
    profile = layers.profile(http2.LOADS[0], 8000)
    assert profile.samples > 10
    assert sum(layer.share for layer in profile.layers) == pytest.approx(1)
    assert "frames, streams, windows" in {layer.name for layer in profile.layers}


def test_functions_are_gathered_in_layers() -> None:
    proxy = f"{ROOT}/proxy/"
    seen = {
        (proxy + "http2/incoming.py", "Incoming._frames"): 5,
        (proxy + "http2/stream.py", "Stream.__init__"): 1,
        (proxy + "http1/upstream.py", "Http1Upstream._take_head"): 3,
        ("elsewhere.py", "function"): 1,
    }
    found = {layer.name: layer.share for layer in layers.layers_of(seen)}
    assert found == {"frames, streams, windows": 0.6, "the endpoint's side": 0.3, layers.OTHER: 0.1}


def test_without_h2load_there_is_nothing_to_show() -> None:
    text = section(Measured(describe(), http2.Result([], {"h2load": h2load.REMEDY}, [], None)))
    assert "h2load was not installed" in text
