"""Golden bytes of the session within the states of HTTP/2 connections: read and written as released.

New lines are printed by ``python -m tests.proxy.http2.test_session_snapshot``; see tests/snapshots/README.md.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.http2 import frame
from proxy.http2.hpack import Never
from proxy.http2.session import SessionState
from tests.proxy.http2.scene import GET, OK, POST, Heard, Stage, client, moved, server

GOLDEN = Path(__file__).parents[2] / "snapshots" / "http2-session-1.txt"


def calling() -> Stage:
    """A server with an upload, an answer that waits for a window, and half a header block."""
    stage = server(eager=False, connect=True)
    stage.say(stage.heads(1, POST, end=False), stage.heads(3, [*GET, (b"x-own", b"1")]))
    stage.body(1, b"y" * 1000)
    stage.session.send_headers(3, [*OK, (b"x-own", b"2")], False)
    stage.session.send_body(3, b"x" * 70000, False)
    stage.session.send_trailers(3, [Never(b"x-secret", b"1"), (b"x-sum", b"2")])
    stage.session.take()
    stage.session.check(stage.now)
    stage.say(frame.frame(frame.HEADERS, 1, 5, b"\x82"), b"\0\0\2")
    return stage


def asking() -> Stage:
    """A client with a request, one that it gave up, one whose answer is not consumed; and a PING."""
    stage = client(eager=False)
    for _ in range(3):
        stage.call([*GET, (b"x-own", b"1")])
    stage.session.reset(3, 8)
    stage.say(stage.heads(5, OK, end=False))
    stage.body(5, b"z" * 10, end=True)
    stage.session.ping()
    stage.say(frame.settings([(frame.HEADER_TABLE_SIZE, 300), (frame.ENABLE_CONNECT_PROTOCOL, 1)]))
    stage.session.take()
    return stage


def leaving() -> Stage:
    """A server that announced its end, to a client whose preface is not whole."""
    stage = server(fresh=True)
    stage.session.take()
    stage.say(frame.PREFACE[:10])
    stage.session.shut_down()
    return stage


SCENES = {"calling": calling, "asking": asking, "leaving": leaving}


def golden() -> dict[str, bytes]:
    lines = (line.split() for line in GOLDEN.read_text().splitlines())
    return {name: zlib.decompress(bytes.fromhex(text)) for name, text in lines}


def written(name: str) -> bytes:
    stage = SCENES[name]()
    stage.session.frames_left.at = stage.session.resets_left.at = stage.now  # never looked at: since boot
    return msgspec.msgpack.encode(stage.session.save(stage.now))


def as_released(now: Any, released: Any) -> Any:
    """Without the fields that came later, at any depth."""
    if isinstance(released, list):
        return [as_released(*both) for both in zip(now, released, strict=False)]
    return now


@pytest.mark.parametrize("name", SCENES)
def test_session_is_written_as_released(name: str) -> None:
    released = decoded(golden()[name])
    assert as_released(decoded(written(name)), released) == released


def decoded(state: bytes) -> Any:
    return msgspec.msgpack.Decoder(list[Any]).decode(state)


@pytest.mark.parametrize("name", SCENES)
def test_released_session_is_read_and_goes_on(name: str) -> None:
    state = msgspec.msgpack.decode(golden()[name], type=SessionState)
    stage = SCENES[name]()
    owner = stage.owner
    restored = type(stage.session).load(state, owner, stage.session.limits, stage.now)
    assert isinstance(owner, Heard)
    owner.session = moved(restored, stage.now)
    assert len(stage.session.streams) == {"calling": 2, "asking": 1, "leaving": 0}[name]
    if name == "calling":
        stage.say(b"\x09\4\0\0\0\5\x86\x84")
        assert stage.calls[-1] == ("headers", 5, [GET[0], GET[1], GET[3]], True)
        stage.say(frame.window_update(0, 9999), frame.window_update(3, 9999))
        assert [kind for kind, *_ in stage.frames()] == [frame.DATA, frame.HEADERS]
    elif name == "asking":
        stage.session.consumed(5, 10)
        stage.say(stage.heads(1, OK))
        assert stage.calls[-1] == ("headers", 1, OK, True)
    else:
        stage.say(frame.PREFACE[10:], frame.settings([]))
        assert stage.calls == [("settled",)]


if __name__ == "__main__":
    for key in SCENES:
        print(key, zlib.compress(written(key), 9).hex())
