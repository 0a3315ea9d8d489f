"""Filters in real processes, with an upgrade in the middle of what they began."""

from __future__ import annotations

import os
import time
import zlib
from pathlib import Path

import msgspec
import pytest

from hotswap import errors
from tests.kit.client import Client
from tests.kit.companion import ROOT
from tests.kit.processes import PATIENCE
from tests.kit.stage import Edge, Stage
from tests.kit.waiting import Late, eventually, ever_longer

pytestmark = pytest.mark.timeout(120)


def filtered(stage: Stage) -> Edge:
    """`web` mirrors and, if asked, delays; `raw` delays each connection. The third upstream gets the copies."""
    edge = Edge(stage, stage.upstreams(("http", "127.0.0.1:0"), ("raw", "127.0.0.1:0"), ("http", "127.0.0.1:0")))
    config = edge.instance.config
    web, raw = config["listeners"][:2]
    config["listeners"] = [web, raw]
    config["clusters"][2:] = [{"name": "shadow", "endpoints": [edge.upstreams.addresses[2]], "request_timeout": "2s"}]
    delay = {"name": "fault", "config": {"delay": 2.0, "headers": {"x-slow": "yes"}}}
    web["filters"] = [{"name": "mirror", "config": {"cluster": "shadow"}}]
    web["routes"][0]["filters"] = [delay]
    raw["filters"] = [{"name": "fault", "config": {"delay": 2.0}}]
    edge.instance.write_config()
    edge.instance.start()
    return edge


def delay_by(edge: Edge, seconds: float) -> None:
    """From the next request and connection on."""
    web, raw = edge.instance.config["listeners"]
    for one in (web["routes"][0], raw):
        one["filters"][0]["config"]["delay"] = seconds
    edge.instance.write_config()
    assert edge.instance.hotswap("reload", "edge").returncode == 0


def upgrade(edge: Edge) -> None:
    done = edge.instance.upgrade("--require-all")
    assert done.exit_code == 0, done.text


def states(edge: Edge, key: str) -> list[str]:
    return [one[key] for one in edge.instance.ask("/connections")["connections"] if key in one]


def delays(edge: Edge, *, within: float = 0.0) -> bool:
    """Whether it delays a request and a connection, now or so many seconds from now."""
    try:
        return eventually(
            lambda: "delay" in states(edge, "step") and "delayed" in states(edge, "state"), within=within, what="both"
        )
    except Late:
        return False


def test_delays_of_requests_and_connections_go_on_over_an_upgrade(stage: Stage) -> None:
    edge = filtered(stage)
    for delay in ever_longer(2.0):
        delay_by(edge, delay)
        with Client(edge.web) as client, Client(edge.raw) as raw:
            began = time.monotonic()
            client.get("/bytes?n=10", "x-slow: yes")
            raw.send("early")
            before = delays(edge, within=delay)
            upgrade(edge)
            after = delays(edge)
            assert client.response().status == 200
            assert raw.take(5) == b"early"
            assert time.monotonic() - began > 0.9 * delay
        if before and after:  # else the former generation had them until the delay was over
            return


def test_a_mirror_gets_the_rest_of_the_body_after_an_upgrade(stage: Stage) -> None:
    edge = filtered(stage)
    body = os.urandom(300_000)
    with Client(edge.web) as client:
        client.send(f"POST /sink HTTP/1.1\r\nhost: client.test\r\ncontent-length: {len(body)}\r\n\r\n")
        for start in range(0, len(body), 100_000):
            client.send(body[start : start + 50_000])
            if not start:
                eventually(lambda: "http1.mirror" in states(edge, "kind"), within=PATIENCE, what="there is a mirror")
            upgrade(edge)
            client.send(body[start + 50_000 : start + 100_000])
        assert msgspec.json.decode(client.response().body) == {"length": len(body), "crc": zlib.crc32(body)}
        eventually(
            lambda: edge.upstreams.record().requests == {"/sink": 2}, within=PATIENCE, what="the copy is complete"
        )
        eventually(lambda: "http1.mirror" not in states(edge, "kind"), within=PATIENCE, what="the mirror ends")
    clusters = edge.instance.ask("/status")["server"]["clusters"]
    assert [one["mirrored"] for one in clusters if "mirrored" in one] == [{"sent": 1, "dropped": 0}]
    assert edge.upstreams.record().busy_ends == []


ACME = """\
from proxy.filters import Filter, Settings


class Numbered(Filter):
    class Config(Settings, frozen=True):
        broken: bool = False

    def __init__(self, config):
        super().__init__(config)
        if config.broken:
            raise KeyError("no such colour")

    def received(self, data, client, now):
        *lines, client.notes["rest"] = (client.notes.get("rest", b"") + data).split(b"\\n")
        first = client.notes.get("lines", 0) + 1
        client.notes["lines"] = first + len(lines) - 1
        return b"".join(b"%d %b\\n" % line for line in enumerate(lines, first))
"""


def install(edge: Edge, directory: Path) -> None:
    """A distribution of somebody else beside this one, on the path of every generation from now on."""
    (directory / "acme_filters.py").write_text(ACME)
    about = directory / "acme_filters-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-filters\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[hotswap.filters]\nnumbered = acme_filters:Numbered\n")
    edge.instance.environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{directory}"


def test_a_filter_of_somebody_else_keeps_its_notes_over_upgrades(stage: Stage, tmp_path: Path) -> None:
    edge = Edge(stage, stage.upstreams(("http", "127.0.0.1:0"), ("raw", "127.0.0.1:0")))
    install(edge, tmp_path)
    raw = edge.instance.config["listeners"][1]
    raw["filters"] = ["numbered"]
    edge.instance.write_config()
    edge.instance.start()
    with Client(edge.raw) as client:
        client.send("a\nb")
        assert client.take(4) == b"1 a\n"
        upgrade(edge)
        client.send("c\nd\n")
        assert client.take(5) == b"2 bc\n"
        assert client.take(4) == b"3 d\n"
        raw["filters"] = [{"name": "numbered", "config": {"broken": True}}]
        edge.instance.write_config()
        for command in (("check", "-c", str(edge.instance.config_file)), ("reload", "edge")):
            done = edge.instance.hotswap(*command)
            told = done.stdout + done.stderr
            assert done.returncode == errors.ConfigError.exit_code
            assert "filters[0].config: numbered cannot be made: KeyError('no such colour')" in told
            assert "Traceback" not in told
        client.send("e\n")
        assert client.take(4) == b"4 e\n"
