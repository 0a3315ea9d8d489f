"""What bodies say, held against what real peers meant, and edits of their attachments."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dubbo.body import (
    MAX_INTRODUCTION,
    arguments,
    behind_arguments,
    introduction,
    read_call,
    read_map,
    texts,
)
from proxy.dubbo.messages import AnswerBody, CallBody, dubbo_status
from tests.kit import dubbo
from tests.kit import hessian as kit
from tests.proxy.dubbo.scene import Captured, captured

CALLS = [one for one in captured() if one.req and not one.event]
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
PAIRS = st.dictionaries(NAMES, kit.TEXTS, max_size=5)


@pytest.mark.parametrize("one", CALLS, ids=lambda one: f"{one.source.split()[0]}-{one.number}")
def test_calls_of_real_peers(one: Captured) -> None:
    body = one.frame[16:]
    begun = introduction(body)
    assert begun.path.decode() == one.path
    assert begun.method.decode() == one.method
    assert begun.version.decode() == (one.version or "")
    assert begun.desc.decode() == one.desc
    call = read_call(body)
    attached = {name: value for name, value in (one.attachments or {}).items() if value is not None}
    assert {name.decode(): value.decode() for name, value in call.attachments.items()} == attached
    assert call.interface.decode() == attached.get("interface", one.path)
    assert call.group.decode() == attached.get("group", "")


@settings(max_examples=40, deadline=None)
@given(values=st.lists(kit.VALUES, max_size=4), pairs=PAIRS, form=kit.FORM)
def test_attachments_are_found_behind_any_arguments(values: list[bytes], pairs: dict[str, str], form: int) -> None:
    head = dubbo.introduction("a.B", "c", "", "Ljava/lang/Object;" * len(values))
    body = head + b"".join(values) + kit.attachments(pairs, form)
    assert {name.decode(): value.decode() for name, value in read_call(body).attachments.items()} == pairs
    reader = behind_arguments(body, introduction(body))
    assert texts(read_map(reader)) == read_call(body).attachments, "both ways to read them say the same"


@settings(max_examples=40, deadline=None)
@given(entries=st.lists(kit.VALUES, max_size=6), cut=st.integers(0, 1000))
def test_entries_that_are_no_texts_are_left_out(entries: list[bytes], cut: int) -> None:
    body = (
        dubbo.introduction("a.B", "c", "", "") + b"H\1a\1b" + b"".join(entry + b"N" for entry in entries) + b"\1c\1dZ"
    )
    assert read_call(body).attachments == {b"a": b"b", b"c": b"d"}
    with pytest.raises(ValueError, match=r"."):
        read_call(body[: len(body) - 1 - cut % 7])


@pytest.mark.parametrize(
    ("desc", "count"),
    [("", 0), ("I", 1), ("[[J", 1), ("Ljava/lang/String;[ILa;V", 4), ("ZBCSIJFD", 8), ("[B", 1)],
)
def test_arguments_are_counted_by_their_types(desc: str, count: int) -> None:
    assert arguments(desc.encode()) == count


@pytest.mark.parametrize("desc", ["L", "[", "X", "Ia", "I" * 256, "La", " I"])
def test_types_that_the_jvm_does_not_have_are_refused(desc: str) -> None:
    with pytest.raises(ValueError, match="types"):
        arguments(desc.encode())


def test_introduction_is_bounded() -> None:
    with pytest.raises(ValueError, match="cut"):
        introduction(kit.text("2.0.2") + kit.text("x" * MAX_INTRODUCTION) + kit.text("") * 3)


@pytest.mark.parametrize("tail", [b"", b"N", b"HZ", b"M\1aZ"])
def test_no_attachments(tail: bytes) -> None:
    body = dubbo.introduction("a.B", "c", "1.0", "I") + b"\x91" + tail
    assert read_call(body)[:4] == (b"a.B", b"c", b"1.0", b"")
    call = CallBody(body, {}, "client")
    assert call.text() == body
    call.add("x", "y")
    assert read_call(call.text()).attachments == {b"x": b"y"}


@pytest.mark.parametrize("tail", [b"I", b"\x91", b"H\1a", b"H\1a\1b", b"H\1aZ", b"H" + b"NN" * 1001 + b"Z"])
def test_a_map_that_is_none_is_refused(tail: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_call(dubbo.introduction("a.B", "c", "1.0", "") + tail)


@settings(max_examples=40, deadline=None)
@given(pairs=PAIRS, form=kit.FORM, value=kit.VALUES, behind=kit.VALUES)
def test_edits_change_nothing_else(pairs: dict[str, str], form: int, value: bytes, behind: bytes) -> None:
    pairs = {name: text for name, text in pairs.items() if name.lower() != "x-edge"}
    head = dubbo.introduction("a.B", "c", "", "Ljava/lang/Object;") + value
    encoded = kit.attachments(pairs, form)[:-1] + b"\1o" + behind + b"Z"
    call = CallBody(head + encoded, {}, "client")
    assert call.text() == head + encoded
    call.set("X-Edge", "one")
    assert call.text() == head + encoded[:-1] + dubbo.text("X-Edge") + dubbo.text("one") + b"Z"
    assert call.get("x-edge") == "one"
    call.remove("x-edge")
    assert call.text() == head + encoded
    for name in pairs:
        call.remove(name)
    assert all(call._map.entries[n].name == b"o" for n in range(len(call._map.entries)))


def test_filters_see_whom_a_call_is_for() -> None:
    call = CallBody(dubbo.call(1, b"", interface="a.B", method="get", version="1.0", attached={"k": "v"})[16:], {}, "h")
    assert (call.target, call.method, call.client) == ("a.B", "get", "h")
    assert [call.get(name) for name in ("interface", "path", "version", "method", "K", "no")] == [
        "a.B", "a.B", "1.0", "get", "v", None,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="name"):
        call.add("", "x")


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_an_answer_of_an_old_server_keeps_no_attachments(kind: int) -> None:
    body = bytes([0x90 + kind]) + (b"" if kind == 2 else b"T")
    answer = AnswerBody(body, {}, 20)
    answer.add("x", "y")
    assert (answer.text(), answer.get("x"), answer.status) == (body, "y", 20)


@pytest.mark.parametrize("kind", [3, 4, 5])
def test_attachments_of_an_answer_are_edited(kind: int) -> None:
    value = b"" if kind == 5 else kit.compound([b"T", b"N"], 2, 0)
    body = bytes([0x90 + kind]) + value
    answer = AnswerBody(body + b"H\1a\1bZ", {}, 20)
    assert answer.get("A") == "b"
    answer.set("a", "c")
    assert answer.text() == body + b"H\1a\1cZ"


def test_an_error_is_a_text() -> None:
    answer = AnswerBody(dubbo.text("boom"), {}, 80)
    assert answer.text() == dubbo.text("boom")


@pytest.mark.parametrize(("http", "own"), [(200, 80), (403, 70), (404, 60), (429, 100), (504, 31), (502, 35), (20, 20)])
def test_statuses_of_filters(http: int, own: int) -> None:
    assert dubbo_status(http) == own
