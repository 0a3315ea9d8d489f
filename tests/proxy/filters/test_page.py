"""The filter of docs/filters.md, and how filters are found."""

from __future__ import annotations

import logging
import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from hotswap.settings.problems import InvalidConfig
from proxy.config.loader import loads
from proxy.filters import Filter, registry
from proxy.filters.fault import Fault
from tests.proxy.simulation import World

PAGE = Path(__file__).parents[3] / "docs" / "filters.md"
CONFIG = """\
name: edge
listeners:
  - {name: web, address: 127.0.0.1:80, protocol: http1, cluster: app, filters: [{name: quota, config: {limit: 2}}]}
clusters:
  - {name: app, endpoints: [127.0.0.1:9000]}
"""


def test_example_of_the_page_works_and_moves(monkeypatch: pytest.MonkeyPatch, moving: bool) -> None:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    assert 15 < found[1].count("\n") < 30
    names: dict[str, Any] = {"__name__": "acme_filters"}
    exec(found[1], names)
    monkeypatch.setitem(registry.FILTERS, "quota", names["Quota"])
    world = World(loads(CONFIG).config, moving=moving)
    client = world.connect("web")
    server = None
    for left in (1, 0, -1):
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Api-Key: k\r\n\r\n")
        if left < 0:
            assert server is not None
            assert server.take() == b""
            world.wait(1.1)
        if server is None:
            server = world.dialled()
            server.accept()
        assert server.take().startswith(b"GET / ")
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert b"\r\nX-Quota-Left: %d\r\n" % max(left, 0) in client.take()


def test_every_built_in_filter_is_on_the_page() -> None:
    page = PAGE.read_text()
    assert [name for name in registry.BUILT_IN if f"| `{name}` |" not in page] == []


def test_installed_filters_are_found_and_broken_ones_are_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    points = [
        EntryPoint("good", "proxy.filters.fault:Fault", registry.GROUP),
        EntryPoint("gone", "no_such_module:Filter", registry.GROUP),
        EntryPoint("other", "pathlib:Path", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda **_: points)
    with caplog.at_level(logging.WARNING, "proxy"):
        found: dict[str, type[Filter]] = registry._installed()
    assert found == {"good": Fault}
    assert "a filter cannot be imported" in caplog.text
    assert "not a subclass" in caplog.text


def test_filter_whose_constructor_raises_is_a_problem_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bug(Filter):
        def __init__(self, config: Any) -> None:
            raise KeyError("oops")

    monkeypatch.setitem(registry.FILTERS, "mine", Bug)
    with pytest.raises(InvalidConfig) as caught:
        loads(
            "name: edge\n"
            "listeners: [{name: web, address: 127.0.0.1:80, protocol: http1, cluster: app,\n"
            "  filters: [{name: mine, config: {}}]}]\n"
            "clusters: [{name: app, endpoints: [127.0.0.1:9000]}]\n"
        )
    assert "config:3: listeners[0].filters[0].config: mine cannot be made: KeyError('oops')" in str(caught.value)
