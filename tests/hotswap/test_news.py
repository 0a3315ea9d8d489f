"""What servers are told of the upgrades they go through: by real generations, and by sources of an older version."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hotswap import news
from hotswap.handover import wire
from hotswap.server import Server
from hotswap.swappable import Took
from tests.hotswap.echo import Echo
from tests.kit.companion import ROOT


class Hearer(Server):
    """Remembers it."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def owning(self, generation: int, how: str) -> None:
        self.heard.append((generation, how))

    def took_over(self, took: Took) -> None:
        self.heard.append(took)

    def kept_on(self, how: str, *, thawed: bool) -> None:
        self.heard.append((how, thawed))


class Stumbler(Server):
    """Has a bug."""

    def owning(self, generation: int, how: str) -> None:
        raise ZeroDivisionError

    def took_over(self, took: Took) -> None:
        raise ZeroDivisionError

    def kept_on(self, how: str, *, thawed: bool) -> None:
        raise ZeroDivisionError


def order(token: str = "ours", **wishes: bool) -> Any:
    """An upgrade under way, as far as it is looked at."""
    asked = {"dry_run": False, "rollback": False, **wishes}
    return SimpleNamespace(told=False, order=SimpleNamespace(**asked), successor=SimpleNamespace(token=token))


def attempt(token: str = "", *, thawed: bool = False) -> Any:
    """An attempt that failed, as far as it is looked at."""
    return SimpleNamespace(hello=SimpleNamespace(token=token), thawed=thawed)


def test_times_are_told_in_seconds() -> None:
    server = Hearer()
    phases = {"copy": 1.5, "check": 1.0, "byte": 0.0}
    news.took_over(server, wire.Bye(2.5, 1, 3, 0, phases, {"removed_listener": 2}), 1)
    assert server.heard == [Took(0.0025, {"copy": 0.0015, "check": 0.001, "byte": 0.0}, {"removed_listener": 2}, 1)]


def test_a_source_of_an_older_version_tells_less() -> None:
    server = Hearer()
    older = wire.decode(b"\x95\xa3BYE\xcb@\x04\x00\x00\x00\x00\x00\x00\x03\x05\x00")
    assert isinstance(older, wire.Bye)
    news.took_over(server, older, 0)
    assert server.heard == [Took(0.0025, {}, {})]


@pytest.mark.parametrize(
    ("upgrade", "failed", "told"),
    [
        (None, attempt(), ("takeover", False)),
        (None, attempt(thawed=True), ("takeover", True)),
        (None, attempt("of an earlier one"), ("upgrade", False)),
        (order(), attempt("ours", thawed=True), ("upgrade", True)),
        (order(rollback=True), attempt("ours"), ("rollback", False)),
        (order(), attempt(), ("takeover", False)),
        (order(), None, ("upgrade", False)),
    ],
)
def test_a_failure_is_told_with_what_it_was_meant_to_be(upgrade: Any, failed: Any, told: tuple[str, bool]) -> None:
    server = Hearer()
    news.kept_on(server, upgrade, failed)
    assert server.heard == [told]


def test_an_upgrade_that_failed_is_told_of_once() -> None:
    """First its attempt fails, then the process ends, then the upgrade is over."""
    server, upgrade = Hearer(), order()
    news.kept_on(server, upgrade, attempt("ours", thawed=True))
    news.kept_on(server, upgrade)
    assert server.heard == [("upgrade", True)]


def test_a_dry_run_was_never_to_replace_anybody() -> None:
    server = Hearer()
    news.kept_on(server, order(dry_run=True), attempt("ours"))
    assert server.heard == []


@pytest.mark.parametrize("server", [Stumbler(), SimpleNamespace()])
def test_no_bug_of_a_server_nor_a_missing_method_does_harm(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    news.owning(server, 2, "upgrade")
    news.took_over(server, wire.Bye(), 0)
    news.kept_on(server, None, attempt())
    assert len(caplog.records) == 3


def test_the_base_class_is_content_with_all_of_it(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    news.owning(server, 2, "upgrade")
    news.took_over(server, wire.Bye(), 0)
    news.kept_on(server, None, attempt())
    assert caplog.records == []


# -- real generations ---------------------------------------------------------------------------------------------


def heard(echo: Echo) -> list[list[Any]]:
    """What was told, times taken out once they are known to be right."""
    for what, *facts in (told := echo.news()):
        if what == "took_over":
            downtime, phases = facts[:2]
            assert set(phases) == {"copy", "check", "byte"}
            assert sum(phases.values()) == pytest.approx(downtime)
            assert 0.0 < downtime < 1.0
    return [one if one[0] != "took_over" else ["took_over", *one[3:]] for one in told]


def test_an_upgrade_a_takeover_and_a_rollback(echo: Echo) -> None:
    echo.start()
    echo.client().say(b"one")
    assert echo.upgrade(command=echo.command(build="2"), cwd=str(ROOT))["ok"]
    assert echo.upgrade(rollback=True)["ok"]
    echo.start(build="3")
    assert heard(echo) == [
        ["owning", 1, "cold"],
        ["owning", 2, "upgrade"],
        ["took_over", {}, 0],
        ["owning", 3, "rollback"],
        ["took_over", {}, 0],
        ["owning", 4, "takeover"],
        ["took_over", {}, 0],
    ]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("destination.send_round_done.before:kill", [["kept_on", "upgrade", False]]),
        ("destination.send_prepared.before:kill", [["kept_on", "upgrade", True]]),
        ("destination.send_owned.before:kill", [["kept_on", "upgrade", True]]),
        ("destination.start.before:kill", [["kept_on", "upgrade", False]]),
        ("destination.start.after:kill", [["owning", 2, "upgrade"], ["kept_on", "upgrade", False]]),
    ],
)
def test_an_attempt_that_fails(echo: Echo, fault: str, told: list[list[Any]]) -> None:
    """Before the freeze; after it, which is a thaw; and as owner, which is none: connections are lost."""
    echo.start()
    echo.client().say(b"one")
    echo.arm(fault)
    assert not echo.upgrade()["ok"]
    assert heard(echo) == [["owning", 1, "cold"], *told]


def test_a_new_version_that_never_calls(echo: Echo) -> None:
    echo.start()
    assert not echo.upgrade(command=["false"], cwd=str(ROOT))["ok"]
    assert heard(echo) == [["owning", 1, "cold"], ["kept_on", "upgrade", False]]


def test_a_dry_run_is_nothing_to_tell_of(echo: Echo) -> None:
    echo.start()
    assert echo.upgrade(dry_run=True)["ok"]
    assert heard(echo) == [["owning", 1, "cold"]]


def test_a_source_that_dies_says_no_goodbye(echo: Echo) -> None:
    first = echo.start()
    echo.arm("source.send_bye.before:kill")
    second = echo.launch(build="2")
    assert echo.exit_code(first) == -9
    echo.wait_served_by(second)
    assert heard(echo) == [["owning", 1, "cold"], ["owning", 2, "takeover"]]


def test_a_source_that_dies_too_early_leaves_its_listeners(echo: Echo) -> None:
    first = echo.start()
    echo.arm("source.copy_round.before:kill")
    second = echo.launch(build="2")
    assert echo.exit_code(first) == -9
    echo.wait_served_by(second)
    assert heard(echo) == [["owning", 1, "cold"], ["owning", 2, "crash"]]
