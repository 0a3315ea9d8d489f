"""Calls of gRPC: deadlines that their clients tell, and errors of the proxy in the way that they understand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.config.model import FilterConfig
from proxy.http2.grpc import failure, is_grpc, only_answer, status_of, timeout
from tests.proxy.http2.backend import OK, Backend, Site
from tests.proxy.http2.browser import Browser, Heard

Build = Callable[..., Site]
TYPE = (b"content-type", b"application/grpc")
DEADLINE_EXCEEDED, UNAVAILABLE = b"4", b"14"
CANCEL, REFUSED = 8, 7


@pytest.fixture
def world(site: Build) -> Site:
    return site()


def call(
    world: Site, patience: bytes = b"", *, end: bool = False, authority: bytes = b"a", browser: Browser | None = None
) -> tuple[Browser, int]:
    """A call whose client waits so long."""
    browser = browser or Browser(world)
    waits = [(b"grpc-timeout", patience)] if patience else []
    stream = browser.ask(b"/p.S/M", b"POST", TYPE, (b"te", b"trailers"), *waits, end=end, authority=authority)
    return browser, stream


def told(heard: Heard) -> bytes:
    """The status of an answer of our own: one HEADERS, which says all."""
    fields = dict(heard.headers)
    assert fields[b":status"] == b"200"
    assert fields[b"content-type"] == b"application/grpc"
    assert b"content-length" not in fields
    assert (heard.body, heard.trailers, heard.ended) == (b"", [], True)
    assert heard.reset in {None, 0}, "it is complete, the request perhaps is not"
    assert fields[b"grpc-message"]
    return fields[b"grpc-status"]


def still(browser: Browser, stream: int) -> bool:
    """Nothing came of it yet."""
    heard = browser.heard(stream)
    return not (heard.status or heard.ended or heard.reset)


# ---- words ----


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"250m", 0.25), (b"7u", 7e-6), (b"8n", 8e-9), (b"0S", 0),
        (b"99999999H", 359999996400), (b"", None), (b"S", None), (b"1", None), (b"1s", None), (b"-1S", None),
        (b"100000000S", None), (b"1.5S", None),
    ],
)  # fmt: skip
def test_timeouts(value: bytes, seconds: float | None) -> None:
    assert timeout(value) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("value", "it_is"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"Application/gRPC; x=y", True),
        (b"application/grpc-web", False),
        (b"application/grpcx", False),
        (b"application/json", False),
        (b"", False),
    ],
)
def test_types(value: bytes, it_is: bool) -> None:
    assert is_grpc(value) == it_is


def test_messages_are_escaped() -> None:
    assert failure(2, "50% of \u00e9\n") == [(b"grpc-status", b"2"), (b"grpc-message", b"50%25 of %C3%A9%0A")]
    assert only_answer(14, "no")[:2] == [OK, TYPE]


def test_statuses() -> None:
    mapped = {code: status_of(code, late=False) for code in (400, 401, 403, 404, 413, 418, 429, 500, 502, 503, 504)}
    assert mapped == {400: 13, 401: 16, 403: 7, 404: 12, 413: 8, 418: 2, 429: 14, 500: 2, 502: 14, 503: 14, 504: 14}
    assert status_of(504, late=True) == 4


# ---- what passes ----


def test_a_call_passes(world: Site) -> None:
    browser, stream = call(world, b"10S")
    server = world.server()
    for field in (TYPE, (b"grpc-timeout", b"10S"), (b"te", b"trailers")):
        assert server.asked(1).headers.count(field) == 1
    browser.say(stream, b"one")
    server.head(1, OK, TYPE)
    server.say(1, b"uno")
    browser.say(stream, b"two", end=True)
    assert (server.asked(1).body, server.asked(1).ended) == (b"onetwo", True)
    server.head(1, (b"grpc-status", b"0"), end=True)
    heard = browser.heard(stream)
    assert heard.headers == [OK, TYPE, (b"via", b"2 hotswap")]
    assert (heard.body, heard.trailers, heard.ended) == (b"uno", [(b"grpc-status", b"0")], True)
    world.at_rest()


def test_an_answer_that_is_only_trailers(world: Site) -> None:
    browser, stream = call(world, end=True)
    world.server().head(1, OK, TYPE, (b"grpc-status", b"5"), end=True)
    heard = browser.heard(stream)
    assert heard.headers == [OK, TYPE, (b"grpc-status", b"5"), (b"via", b"2 hotswap")]
    assert heard.ended


def test_a_server_that_answers_before_all_was_sent(world: Site) -> None:
    browser, stream = call(world)
    server = world.server()
    server.head(1, OK, TYPE, (b"grpc-status", b"5"), end=True)
    assert dict(browser.heard(stream).headers)[b"grpc-status"] == b"5"
    world.wait(0.06)
    assert browser.heard(stream).reset == 0
    assert server.asked(1).reset == CANCEL
    world.at_rest()


# ---- what goes wrong ----


def test_no_route(world: Site) -> None:
    browser, stream = call(world, end=True, authority=b"nobody")
    assert told(browser.heard(stream)) == b"12"


def test_no_endpoint(world: Site) -> None:
    browser, stream = call(world)
    world.dialled().refuse()
    assert told(browser.heard(stream)) == UNAVAILABLE


def test_a_dial_that_takes_too_long(world: Site) -> None:
    """That is no deadline of the client."""
    browser, stream = call(world)
    world.wait(1.1)
    assert told(browser.heard(stream)) == UNAVAILABLE


@pytest.mark.parametrize("end", [False, True])
def test_a_connection_that_is_lost(world: Site, end: bool) -> None:
    browser, stream = call(world, end=end)
    world.server().socket.rst()
    assert told(browser.heard(stream)) == UNAVAILABLE
    world.at_rest()


def test_a_stream_that_is_refused_is_sent_again(world: Site) -> None:
    browser, stream = call(world, end=True)
    server = world.server()
    server.reset(1, REFUSED)
    server.head(3, OK, TYPE, (b"grpc-status", b"0"), end=True)
    assert browser.heard(stream).ended


@pytest.mark.parametrize("how", ["stream", "connection"])
def test_an_answer_that_breaks_off(world: Site, how: str) -> None:
    browser, stream = call(world)
    server = world.server()
    server.head(1, OK, TYPE)
    server.say(1, b"half")
    if how == "stream":
        server.reset(1, 2)
    else:
        server.socket.fin()
    heard = browser.heard(stream)
    assert heard.body == b"half"
    assert dict(heard.trailers)[b"grpc-status"] == UNAVAILABLE
    assert heard.reset in {None, 0}
    world.at_rest()


# ---- deadlines ----


def test_a_deadline_in_a_dial(site: Build) -> None:
    world = site(connect_timeout=10.0)
    browser, stream = call(world, b"2S")
    world.wait(1.9)
    assert still(browser, stream)
    world.wait(0.2)
    assert told(browser.heard(stream)) == DEADLINE_EXCEEDED
    world.at_rest()


@pytest.mark.parametrize("end", [False, True], ids=["SEND", "WAIT"])
@pytest.mark.parametrize("patience", [b"2S", b"100S"])
def test_a_deadline_before_the_answer(world: Site, end: bool, patience: bytes) -> None:
    """Not sooner either: `request_timeout` is 30 s, `body_timeout` 60."""
    browser, stream = call(world, patience, end=end)
    server = world.server()
    seconds = int(patience[:-1])
    for _ in range(4):
        world.wait((seconds - 0.1) / 4)
        server.listen()  # and answers PING
    assert still(browser, stream)
    world.wait(0.2)
    assert told(browser.heard(stream)) == DEADLINE_EXCEEDED
    assert server.asked(1).reset == CANCEL
    world.at_rest()


def test_a_deadline_while_it_waits_for_a_stream(site: Build) -> None:
    world = site(shared_connections=1, connect_timeout=10.0)
    world.ask()
    server = world.server(streams=1)
    browser, stream = call(world, b"2S", end=True)
    world.wait(1.9)
    assert still(browser, stream)
    world.wait(0.2)
    assert told(browser.heard(stream)) == DEADLINE_EXCEEDED
    server.answer(1)
    assert server.latest == 1


def test_a_deadline_in_a_delay(site: Build) -> None:
    fault = FilterConfig(name="fault", config={"delay": 30})
    world = site(listener={"filters": (fault,)})
    browser, stream = call(world, b"2S", end=True)
    world.wait(1.9)
    assert still(browser, stream)
    world.wait(0.2)
    assert told(browser.heard(stream)) == DEADLINE_EXCEEDED
    assert not world.dials
    world.at_rest()


@pytest.mark.parametrize("end", [False, True], ids=["BOTH", "REPLY"])
def test_a_deadline_within_the_answer(world: Site, end: bool) -> None:
    browser, stream = call(world, b"2S", end=end)
    server = world.server()
    server.head(1, OK, TYPE)
    server.say(1, b"half")
    world.wait(1.9)
    assert not browser.heard(stream).ended
    world.wait(0.2)
    heard = browser.heard(stream)
    assert (heard.body, dict(heard.trailers)[b"grpc-status"]) == (b"half", DEADLINE_EXCEEDED)
    assert server.asked(1).reset == CANCEL
    world.at_rest()


def test_a_deadline_is_that_of_the_call_however_often_it_is_sent(world: Site) -> None:
    browser, stream = call(world, b"2S", end=True)
    server = world.server()
    world.wait(1.5)
    server.reset(1, REFUSED)
    world.wait(0.4)
    assert still(browser, stream)
    world.wait(0.2)
    assert told(browser.heard(stream)) == DEADLINE_EXCEEDED
    assert server.asked(3).reset == CANCEL


def test_without_one_request_timeout_holds(world: Site) -> None:
    browser, stream = call(world, end=True)
    world.server()
    world.wait(30.1)
    assert told(browser.heard(stream)) == DEADLINE_EXCEEDED


def test_one_that_cannot_be_read_is_none(world: Site) -> None:
    browser, stream = call(world, b"soon", end=True)
    server = world.server()
    world.wait(29)
    server.head(1, OK, TYPE, (b"grpc-status", b"0"), end=True)
    assert browser.heard(stream).ended


def test_a_stream_may_be_silent_longer_than_an_upload(site: Build) -> None:
    world = site(idle_timeout=200.0)
    browser, stream = call(world)
    server = world.server()
    browser.say(stream, b"hello")
    for _ in range(19):
        world.wait(10)
        server.listen()
    assert still(browser, stream)
    browser.say(stream, b"still here")
    for _ in range(19):
        world.wait(10)
        server.listen()
    assert still(browser, stream)
    world.wait(11)
    assert told(browser.heard(stream)) == DEADLINE_EXCEEDED
    world.at_rest()


def test_deadlines_of_what_is_no_call_mean_nothing(world: Site) -> None:
    browser = Browser(world)
    stream = browser.ask(b"/", b"GET", (b"grpc-timeout", b"1S"))
    server = world.server()
    world.wait(5)
    server.answer(1, b"late")
    assert browser.heard(stream).body == b"late"


def test_one_call_more_or_less_ends_no_other(world: Site) -> None:
    browser, late = call(world, b"1S", end=True)
    _, other = call(world, b"9S", end=True, browser=browser)
    server: Backend = world.server()
    world.wait(1.1)
    assert told(browser.heard(late)) == DEADLINE_EXCEEDED
    server.head(3, OK, TYPE, (b"grpc-status", b"0"), end=True)
    assert browser.heard(other).ended


def test_an_answer_with_a_length_keeps_its_status(world: Site) -> None:
    browser = Browser(world)
    stream = browser.ask(b"/", b"POST", (b"content-type", b"application/grpc"), (b"te", b"trailers"))
    server = world.server()
    server.head(1, OK, (b"content-type", b"application/grpc"), (b"content-length", b"5"))
    server.say(1, b"hello")
    server.head(1, (b"grpc-status", b"0"), end=True)
    heard = browser.heard(stream)
    assert (heard.body, heard.trailers, heard.ended) == (b"hello", [(b"grpc-status", b"0")], True)
