from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec
import pytest

from hotswap.admission import SPARE_FDS, agree, judge
from hotswap.chain import Chain, Record
from hotswap.errors import Busy, Refused, Superseded
from hotswap.handover import wire
from hotswap.server import Server
from hotswap.swappable import Schema, Value

HELLO = wire.Hello(Schema(1, 1), {"line": Schema(1, 1)}, [], "1.0", "build", "config")


class Serving(Server):
    """A server with a number of connections."""

    def __init__(self, connections: int = 0) -> None:
        self.connected = connections

    def schemas(self) -> Mapping[str, Schema]:
        return {"line": Schema(1, 1)}

    def values(self) -> Mapping[int, Value]:
        return cast("dict[int, Value]", dict.fromkeys(range(self.connected)))  # only counted here


def chain(*superseded: str) -> Chain:
    return Chain([], list(superseded))


def judged(hello: wire.Hello = HELLO, **changes: Any) -> dict[str, int]:
    facts: dict[str, Any] = {
        "server": Serving(),
        "chain": chain(),
        "listeners": 1,
        "draining": False,
        "spawned": False,
        "awaited": False,
    }
    facts.update(changes)
    return judge(hello, facts.pop("server"), facts.pop("chain"), **facts)


def hello(**changes: Any) -> wire.Hello:
    return msgspec.structs.replace(HELLO, **changes)


def test_a_stranger_of_the_same_kind_is_welcome() -> None:
    assert judged() == {"line": 1}


def test_an_upgrade_under_way_lets_only_its_own_generation_in() -> None:
    with pytest.raises(Busy):
        judged(awaited=True)
    assert judged(awaited=True, spawned=True) == {"line": 1}


def test_a_draining_generation_has_no_successor() -> None:
    with pytest.raises(Refused, match="draining"):
        judged(draining=True, spawned=True, awaited=True)


@pytest.mark.parametrize("takeover", ["auto", "never", "whatever"])
def test_who_was_superseded_does_not_come_back_by_itself(takeover: str) -> None:
    with pytest.raises(Superseded, match="--takeover=require"):
        judged(hello(takeover=takeover), chain=chain("build/config"))


def test_who_was_superseded_comes_back_when_told_to() -> None:
    assert judged(hello(takeover="require"), chain=chain("build/config"))
    assert judged(chain=chain("build/config"), spawned=True, awaited=True)


@pytest.mark.parametrize("identity", ["build/other", "other/config", "build", "config"])
def test_another_code_or_another_configuration_is_somebody_else(identity: str) -> None:
    assert judged(chain=chain(identity))


def test_a_record_and_a_hello_agree_on_what_an_identity_is() -> None:
    history = Chain()
    history.add(Record(1, "1.0", HELLO.build, HELLO.config_id, [], "/", 1, 0.0, "cold"))
    history.supersede(2)
    with pytest.raises(Superseded):
        judged(chain=history)


@pytest.mark.parametrize(
    ("oldest", "newest", "welcome"),
    [
        (wire.PROTOCOL_OLDEST, wire.PROTOCOL_NEWEST, True),
        (wire.PROTOCOL_NEWEST, wire.PROTOCOL_NEWEST + 5, True),
        (0, wire.PROTOCOL_OLDEST, True),
        (wire.PROTOCOL_NEWEST + 1, wire.PROTOCOL_NEWEST + 2, False),
        (-1, wire.PROTOCOL_OLDEST - 1, False),
    ],
)
def test_a_common_protocol_version_is_needed(oldest: int, newest: int, welcome: bool) -> None:
    caller = hello(protocol=Schema(oldest, newest))
    if welcome:
        assert judged(caller)
    else:
        with pytest.raises(Refused, match=rf"the other {oldest} to {newest}; upgrade by way of"):
            judged(caller)


def test_descriptors_for_everything_are_needed() -> None:
    needed = 100 + 3 + SPARE_FDS
    facts: dict[str, Any] = {"server": Serving(100), "listeners": 3}
    assert judged(hello(nofile=needed + 10, open_fds=10), **facts)
    with pytest.raises(Refused, match=rf"needs {needed} more: raise RLIMIT_NOFILE"):
        judged(hello(nofile=needed + 9, open_fds=10), **facts)
    assert judged(hello(nofile=0), **facts), "who does not tell its limit is not judged by it"


# -- schema versions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "version"),
    [((1, 1), (1, 1), 1), ((1, 3), (2, 5), 3), ((2, 5), (1, 3), 3), ((1, 9), (4, 4), 4), ((3, 3), (1, 9), 3)],
)
def test_the_newest_version_that_both_understand_is_chosen(
    ours: tuple[int, int], theirs: tuple[int, int], version: int
) -> None:
    assert agree({"line": Schema(*ours)}, {"line": Schema(*theirs)}) == {"line": version}


@pytest.mark.parametrize(("ours", "theirs"), [((1, 1), (2, 2)), ((4, 6), (1, 3))])
def test_without_a_common_version_nothing_moves(ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    with pytest.raises(Refused, match="no common version of the state kind 'line'"):
        agree({"line": Schema(*ours)}, {"line": Schema(*theirs)})


def test_a_kind_the_other_does_not_know_cannot_move() -> None:
    with pytest.raises(Refused, match="does not know connections of kind 'line'"):
        agree({"line": Schema(1, 1)}, {"lines": Schema(1, 1)})


def test_kinds_only_the_other_knows_do_not_matter() -> None:
    assert agree({}, {"line": Schema(1, 1)}) == {}
