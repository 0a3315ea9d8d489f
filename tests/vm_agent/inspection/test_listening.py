from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.kit.networks import Network, command, needed
from tests.vm_agent.inspection.subjects import ADDRESS, brief, sound, spec, told
from vm_agent.errors import InterceptionFailed
from vm_agent.inspection.listening import KINDS, judge, judge_held, judge_led, led, look, promised
from vm_agent.inspection.subject import Listening
from vm_agent.network import interception
from vm_agent.network.listening import Finding, Kind
from vm_agent.network.sockets import Watch
from vm_agent.runners.base import Running
from vm_agent.spec.model import Redirect

RUN = Path("/run/hotswap")
LED = spec(intercept=(Redirect(mode="redirect", ports=(80,), to=8080),))


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_of_trouble_with_a_listener_is_a_finding(kind: Kind) -> None:
    (found,) = judge(sound(), [Finding(kind, ADDRESS, "so it is", "mend it")])
    assert (found.severity, found.what) == KINDS[kind]
    assert (found.place, found.text, found.remedy) == (ADDRESS, f"{ADDRESS}: so it is", "mend it")


def test_promised_is_what_the_sidecar_says_it_serves() -> None:
    addresses = ("localhost:80", "127.0.0.1:80", "unix:/run/x", "[::1]:443", "127.0.0.1:0", "nonsense")
    subject = sound(told=told(listeners=tuple(Listening(address=one) for one in addresses)))
    assert promised(subject) == ("127.0.0.1:80", "unix:/run/x", "[::1]:443")
    assert promised(sound(told=None)) == ()


def running(**changes: Any) -> Running:
    return Running(**{"pid": 400, "ready": True, "restarts": 0} | changes)


@pytest.mark.parametrize(
    ("kind", "changes", "found"),
    [
        ("children", {"running": running(held=(ADDRESS,))}, []),
        ("children", {"running": running(held=(ADDRESS, "127.0.0.1:9901"))}, []),
        ("children", {"running": running()}, [("warning", "not_held", ADDRESS)]),
        ("children", {"running": running(), "busy": True}, []),
        ("children", {"running": running(ready=False)}, []),
        ("children", {"running": None}, []),
        ("children", {"running": running(), "told": None}, []),
        ("systemd", {"running": running(kept=1)}, []),
        ("systemd", {"running": running(kept=0)}, [("warning", "not_held", "")]),
    ],
)
def test_listeners_that_nobody_holds_are_told(
    kind: str, changes: dict[str, Any], found: list[tuple[str, str, str]]
) -> None:
    assert brief(judge_held(sound(**changes), kind, RUN)) == found


def test_the_remedy_can_be_copied() -> None:
    (found,) = judge_held(sound(running=running()), "children", RUN)
    assert "--unix-socket /run/hotswap/edge/control.sock http://hotswap/announce" in found.remedy


@pytest.mark.parametrize(
    ("wrong", "changes", "found"),
    [
        (None, {}, []),
        (("missing", "mend"), {}, [("error", "interception", "")]),
        (("missing", "mend"), {"busy": True}, []),
    ],
)
def test_rules_that_are_not_as_planned_are_told(
    wrong: tuple[str, str] | None, changes: dict[str, Any], found: list[tuple[str, str, str]]
) -> None:
    assert brief(judge_led(sound(**changes), wrong)) == found


def test_a_kernel_that_does_not_tell_of_rules_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> bool:
        raise InterceptionFailed("no permission")

    monkeypatch.setattr(interception, "present", refuse)
    assert "no permission" in (led(sound(spec=LED)) or ("", ""))[0]
    assert led(sound()) is None


@pytest.mark.all
def test_real_rules_that_somebody_flushed_are_missed() -> None:
    needed()
    network = Network(f"hs{uuid.uuid4().hex[:8]}")
    try:
        with (
            network.run(lambda: socket.create_server(("127.0.0.1", 8080))),
            network.run(lambda: socket.create_server(("::1", 8080), family=socket.AF_INET6)),
        ):
            subject = sound(spec=LED, told=None, running=None)
            network.run(interception.apply, interception.plan(LED))
            assert network.run(led, subject) is None
            network.run(command, "nft", "flush", "ruleset")
            assert "passes it by" in (network.run(led, subject) or ("", ""))[0]
    finally:
        command("ip", "netns", "del", network.name)


def test_a_real_listener_is_found_and_its_absence_too() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        sock.listen(8)
        subject = sound(told=told(pid=os.getpid(), listeners=(Listening(address=address),)))
        assert brief(judge(subject, look(subject, Watch(), ()))) == []
    assert brief(judge(subject, look(subject, Watch(), ()))) == [("error", "listener", address)]
