from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hotswap.errors import Busy
from hotswap.http import EventStream
from hotswap.standbys import LIMIT, Standby, Standbys


def heard(stream: EventStream) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in stream.take().splitlines()]


def test_who_is_gone_does_not_stand_by() -> None:
    standbys = Standbys()
    first, second = standbys.join(Standby(1, build="a")), standbys.join(Standby(2, build="a"))
    first.abandon()
    assert standbys.present() == [Standby(2, build="a")]
    assert standbys.of(1, "") is None
    assert heard(second) == [{"event": "standing_by"}]


def test_anyone_means_who_served_last() -> None:
    standbys = Standbys()
    assert standbys.latest() is None
    for generation in (3, 5, 0):
        standbys.join(Standby(generation, build="x"))
    assert standbys.latest() == Standby(5, build="x")
    assert standbys.of(3, "x") == Standby(3, build="x")


def test_the_number_of_another_chain_is_not_that_generation() -> None:
    standbys = Standbys()
    standbys.join(Standby(1, build="of before the crash"))
    standbys.join(Standby(1, build="b"))
    assert standbys.of(1, "b") == Standby(1, build="b")
    assert standbys.of(1, "c") is None


def test_a_container_that_was_started_again_is_known_by_its_build() -> None:
    standbys = Standbys()
    standbys.join(Standby(0, build="new"))
    standbys.join(Standby(0, build="old"))
    assert standbys.of(3, "old") == Standby(0, build="old")
    assert standbys.of(3, "other") is None


def test_who_is_summoned_hears_the_token_and_nobody_else_does() -> None:
    standbys = Standbys()
    streams = [standbys.join(Standby(1, place="mnt:[1]")), standbys.join(Standby(1, place="mnt:[2]"))]
    standbys.summon(standbys.present()[1], "token")
    assert [event.get("token") for event in heard(streams[1])] == [None, "token"]
    assert [event["event"] for event in heard(streams[0])] == ["standing_by"]
    assert streams[1].over
    assert [one["place"] for one in standbys.facts()] == ["mnt:[1]"]


@pytest.mark.parametrize(("ended", "told"), [(True, ["standing_by", "ended"]), (False, ["standing_by"])])
def test_an_end_on_purpose_is_told(ended: bool, told: list[str]) -> None:
    standbys = Standbys()
    stream = standbys.join(Standby())
    standbys.dismiss(ended=ended)
    assert [event["event"] for event in heard(stream)] == told
    assert stream.over
    assert standbys.present() == []


def test_there_is_room_for_so_many() -> None:
    standbys = Standbys()
    streams = [standbys.join(Standby()) for _ in range(LIMIT)]
    with pytest.raises(Busy):
        standbys.join(Standby())
    streams[3].abandon()
    standbys.join(Standby(9))
