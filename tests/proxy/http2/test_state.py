"""What moves is all there is: a session that moved has the same fields as before, but for what is derived."""

from __future__ import annotations

from math import inf
from typing import Any

from proxy.http2 import frame
from proxy.http2.budget import Bucket
from proxy.http2.hpack import Decoder, Encoder, Never
from proxy.http2.outgoing import Outgoing
from proxy.http2.stream import Stream
from tests.proxy.http2.scene import GET, LIMITS, OK, POST, Stage, client, server

DERIVED = {"known", "known_at", "known_trailers", "missed", "wanted", "now", "counted", "work", "inserted", "_secrets"}
GIVEN = {"owner", "limits"}


def fields(one: Any) -> Any:
    """All that an object holds, comparable."""
    if isinstance(one, Outgoing | Stream | Bucket | Decoder | Encoder):
        names = {name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())}
        about = {name: fields(getattr(one, name)) for name in names - DERIVED - GIVEN}
        if isinstance(one, Outgoing):
            about["out"] = b"".join(one.out)
            about["work"] = one.work - one.counted
        elif isinstance(one, Encoder):
            about["known"] = {field: one.inserted - number for field, number in one.known.items()}
            about["names"] = {name: one.inserted - number for name, number in one.names.items()}
        return about
    if isinstance(one, dict):
        return {key: fields(value) for key, value in one.items()}
    if isinstance(one, float) and one != inf:
        return round(one, 6)
    return list(one) if isinstance(one, tuple | list) else one


def busy(stage: Stage) -> Stage:
    """Everything that can be is under way."""
    session = stage.session
    if session.server:
        stage.say(
            stage.heads(1, POST, end=False), stage.heads(3, [*GET, (b"x-own", b"1")]), stage.heads(5, POST, end=False)
        )
        for stream_id in (1, 3):
            session.send_headers(stream_id, [*OK, (b"x-own", b"2")], False)
    else:
        for end in (False, True, False):
            stage.call([*GET, (b"x-own", b"1")], end=end)
        stage.say(stage.heads(1, OK, end=False))
    session.send_body(1, b"x" * 70000, False)
    session.send_trailers(1, [Never(b"x-secret", b"1"), (b"x-sum", b"2")])
    session.take()
    stage.body(1, b"y" * 1000)
    session.consumed(1, 500)
    session.reset(5, 8)
    session.ping()
    session.check(stage.now)
    stage.say(frame.settings([(frame.HEADER_TABLE_SIZE, 300)]), frame.ping(b"12345678"), frame.goaway(101, 0))
    if session.server:
        session.shut_down()
    stage.say(frame.frame(frame.HEADERS, 1, 7 if session.server else 1, b"\x82"), b"\0\0\1")
    return stage


def test_all_fields_move() -> None:
    for stage in (busy(server(eager=False, table=8192)), busy(client(eager=False))):
        session = stage.session
        assert not session.dead
        before = fields(session)
        later = type(session).load(session.save(stage.now), session.owner, LIMITS, stage.now)
        assert fields(later) == before
        waiting = [field for stream in later.streams.values() for field in stream.trailers or ()]
        assert [isinstance(field, Never) for field in waiting] == [True, False]


def test_saving_alters_nothing_and_shares_nothing() -> None:
    stage = busy(server(eager=False))
    saved = stage.session.save(stage.now)
    assert stage.session.save(stage.now) == saved
    stage.say(b"\0\4\0\0\0\0\1\x84")
    stage.session.theirs.window = 1
    assert saved.theirs.window != 1
    other = type(stage.session).load(saved, stage.owner, LIMITS, stage.now)
    other.theirs.window = 2
    assert saved.theirs.window == frame.WINDOW


def test_dead_session_moves_with_its_last_word() -> None:
    stage = server()
    stage.say(frame.frame(frame.PING, 0, 0, b""))
    assert stage.session.dead
    stage.move()
    stage.request(1)
    assert [kind for kind, *_ in stage.frames()] == [frame.GOAWAY]


def test_state_of_a_newer_generation_is_read() -> None:
    """It may have more fields, at the end; and an older one fewer of those that have a default."""
    import msgspec

    from proxy.http2.session import SessionState

    stage = busy(server(eager=False))
    saved = stage.session.save(stage.now)
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(saved))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([*plain, "new"]), type=SessionState) == saved
    older = msgspec.msgpack.decode(msgspec.msgpack.encode(plain[:-1]), type=SessionState)
    assert older.stuck is None
