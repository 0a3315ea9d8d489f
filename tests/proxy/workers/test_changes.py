"""A worker looks at a changed configuration before it is put in force anywhere."""

from __future__ import annotations

import asyncio
import pickle
from contextlib import nullcontext
from typing import TYPE_CHECKING, cast

import pytest

from proxy.config.loader import loads
from proxy.server import ProxyServer
from proxy.workers import words
from proxy.workers.changes import Planning
from tests.kit.descriptors import no_free_descriptor

if TYPE_CHECKING:
    from proxy.workers.line import Line

CONFIG = """\
name: edge
workers: 2
listeners: [{name: web, address: "127.0.0.1:80", protocol: http1, cluster: app}]
clusters: [{name: app, endpoints: ["127.0.0.1:9000"]}]
"""
ADDED = CONFIG.replace(
    "cluster: app}]", 'cluster: app}, {name: raw, address: "127.0.0.1:81", protocol: tcp, cluster: app}]'
)
ANOTHER = CONFIG.replace("9000", "9001")


class Said:
    """Hears what a worker has to say."""

    def __init__(self) -> None:
        self.word: asyncio.Future[words.Planned] = asyncio.get_running_loop().create_future()

    def say(self, word: words.Planned) -> None:
        self.word.set_result(word)


def look_at(text: str, *, full: bool) -> str:
    """What a worker answers; `full`: it has no descriptor left."""

    async def plan() -> words.Planned:
        said = Said()
        planning = Planning(ProxyServer(loads(CONFIG).config), cast("Line", said))
        await asyncio.to_thread(bool)  # the thread is there, and with it what it takes
        with no_free_descriptor() if full else nullcontext():
            planning.plan(words.Plan(7, pickle.dumps(loads(text).config)))
            async with asyncio.timeout(10):
                return await said.word

    word = asyncio.run(plan())
    assert word.number == 7
    return word.refusal


@pytest.mark.parametrize("text", [CONFIG, ADDED, ANOTHER])
def test_what_can_be_put_in_force_is_not_refused(text: str) -> None:
    assert look_at(text, full=False) == ""


def test_another_listener_is_refused_where_its_socket_could_not_be_taken() -> None:
    assert "RLIMIT_NOFILE" in look_at(ADDED, full=True)


def test_what_needs_no_descriptor_is_not_refused_for_want_of_one() -> None:
    assert look_at(ANOTHER, full=True) == ""
