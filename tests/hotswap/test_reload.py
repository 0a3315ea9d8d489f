"""Reloads of one generation: whole or not at all, one after the other, never in the middle of a handover."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from hotswap.address import Address
from hotswap.errors import BindFailed, Busy, ConfigError, HotswapError, Refused
from hotswap.estate import Estate, Identity
from hotswap.handover.rounds import Limits
from hotswap.reload import Change, Reload, Reloading, ReloadOrder
from hotswap.swappable import ListenerSpec
from tests.hotswap.toy import PATIENCE, Toy, no_leak, play
from tests.kit.ports import loopback


@dataclass
class Plan:
    """A configuration that was read."""

    server: Configurable
    config_id: str = "new"
    changes: Sequence[Change] = (Change("listener", "x", "added"),)
    wanted: Sequence[ListenerSpec] = ()
    admin: Address | None = None
    limits: Limits | None = None

    def apply(self, added: Mapping[str, int]) -> None:
        self.server.applied.append(dict(added))


class Configurable(Toy):
    """A server whose next configuration a test decides on."""

    def __init__(self) -> None:
        super().__init__()
        self.applied: list[dict[str, int]] = []
        self.plan = Plan(self)
        self.failure: HotswapError | None = None
        self.threads: list[threading.Thread] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def reload(self) -> Reload:
        self.threads.append(threading.current_thread())
        self.may_go_on.wait(10)
        if self.failure is not None:
            raise self.failure
        return self.plan


@dataclass
class Tenure:
    """What the supervisor is to hold."""

    held: dict[str, int] = field(default_factory=dict)

    def follow(self, held: Mapping[str, int]) -> None:
        self.held = dict(held)


@dataclass
class Owner:
    """The part of `Serving` that reloads use."""

    server: Any
    identity: Identity = field(default_factory=lambda: Identity("edge", "1", "b", "old", ["run"], "/"))
    estate: Estate = field(default_factory=lambda: Estate(-1, -1, -1))
    gave_away: bool = False
    draining: bool = False
    in_handover: bool = False
    waited: bool = False
    generation: int = 3
    tenure: Tenure = field(default_factory=Tenure)
    followed: list[str] = field(default_factory=list)
    signals: list[int] = field(default_factory=list)
    calmed: asyncio.Event = field(default_factory=asyncio.Event)

    async def calm(self) -> None:
        if self.in_handover:
            self.waited = True
            await self.calmed.wait()

    def reconfigured(self, plan: Reload, admin: int) -> None:
        self.followed.append(plan.config_id)
        self.estate.admin = admin

    def signal_successor(self, number: int) -> None:
        self.signals.append(number)


def reloading(owner: Owner) -> Reloading:
    return Reloading(cast("Any", owner))


def spec(address: str, name: str = "x") -> ListenerSpec:
    return ListenerSpec(name, Address.parse(address))


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that happens in a thread, or in a task of its own."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  nobody sets an event for a test
            await asyncio.sleep(0.005)


def test_it_is_read_beside_the_loop_and_applied_in_it() -> None:
    async def scenario() -> None:
        owner = Owner(Configurable())
        owner.server.plan.wanted = [spec(loopback())]
        answer = await reloading(owner).carry_out(ReloadOrder())
        assert owner.server.threads != [threading.current_thread()]
        assert (answer["ok"], answer["before"], answer["config_id"], answer["generation"]) == (True, "old", "new", 3)
        (added,) = owner.server.applied
        with socket.socket(fileno=added["x"]) as listener:
            assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        assert owner.followed == ["new"]
        assert list(owner.estate.server.values()) == [added["x"]]
        assert owner.tenure.held == owner.estate.server

    play(scenario())


def test_no_difference_means_no_change() -> None:
    async def scenario() -> None:
        owner = Owner(Configurable())
        owner.server.plan.changes = ()
        answer = await reloading(owner).carry_out(ReloadOrder())
        assert answer["changes"] == []
        assert (owner.server.applied, owner.followed) == ([], [])

    play(scenario())


def test_a_dry_run_binds_and_lets_go(tmp_path: Path) -> None:
    async def scenario() -> None:
        owner = Owner(Configurable())
        path = tmp_path / "x.sock"
        owner.server.plan.wanted = [spec(loopback()), spec(f"unix:{path}", "y")]
        owner.server.plan.admin = Address.parse(loopback())
        with no_leak():
            answer = await reloading(owner).carry_out(ReloadOrder(dry_run=True))
        assert answer["dry_run"]
        assert owner.server.applied == []
        assert not path.exists()

    play(scenario())


@pytest.mark.parametrize("where", ["listener", "admin"])
def test_an_address_that_is_taken_undoes_everything(where: str) -> None:
    async def scenario() -> None:
        owner = Owner(Configurable())
        with socket.socket() as rival:
            rival.bind(("127.0.0.1", 0))
            rival.listen()
            taken = f"127.0.0.1:{rival.getsockname()[1]}"
            owner.server.plan.wanted = [spec(loopback()), *([spec(taken, "y")] if where == "listener" else [])]
            owner.server.plan.admin = Address.parse(taken) if where == "admin" else None
            mine = reloading(owner)
            with no_leak(), pytest.raises(BindFailed, match="cannot be bound"):
                await mine.carry_out(ReloadOrder())
        assert owner.server.applied == []
        assert mine.last is not None
        assert (mine.last["ok"], mine.last["exit_code"]) == (False, BindFailed.exit_code)

    play(scenario())


def test_a_broken_configuration_is_refused_and_remembered() -> None:
    async def scenario() -> None:
        owner = Owner(Configurable())
        owner.server.failure = ConfigError("line 3")
        mine = reloading(owner)
        with pytest.raises(ConfigError, match="line 3"):
            await mine.carry_out(ReloadOrder())
        assert mine.last is not None
        assert mine.last["message"] == "line 3"
        owner.server.failure = None
        assert (await mine.carry_out(ReloadOrder()))["ok"]

    play(scenario())


def test_a_server_that_cannot_reload_says_so() -> None:
    async def scenario() -> None:
        with pytest.raises(Refused, match="`hotswap upgrade` applies what changed"):
            await reloading(Owner(Toy())).carry_out(ReloadOrder())

    play(scenario())


def test_it_waits_for_a_handover_and_finds_out_who_owns_then() -> None:
    async def scenario() -> None:
        owner = Owner(Configurable(), in_handover=True)
        mine = reloading(owner)
        with pytest.raises(Busy, match="did not end within"):
            await mine.carry_out(ReloadOrder(timeout=0.05))
        assert owner.server.threads == []
        waiting = asyncio.ensure_future(mine.carry_out(ReloadOrder()))
        await until(lambda: owner.waited)
        await asyncio.wait_for(mine.settled(), 1)  # an upgrade need not wait for it: it waits for the upgrade
        owner.in_handover, owner.gave_away = False, True
        owner.calmed.set()
        with pytest.raises(Busy, match="another generation took over meanwhile"):
            await waiting
        owner.gave_away, owner.draining = False, True
        with pytest.raises(Refused, match="draining"):
            await mine.carry_out(ReloadOrder())

    play(scenario())


def test_a_handover_that_began_while_it_was_read_makes_it_read_again() -> None:
    async def scenario() -> None:
        owner = Owner(Configurable())
        owner.server.may_go_on.clear()
        waiting = asyncio.ensure_future(reloading(owner).carry_out(ReloadOrder()))
        await until(lambda: owner.server.threads)
        owner.in_handover = True
        owner.server.may_go_on.set()
        await until(lambda: not owner.server.threads[0].is_alive())
        assert owner.server.applied == []
        await until(lambda: owner.waited)
        owner.in_handover = False
        owner.calmed.set()
        assert (await waiting)["ok"]
        assert len(owner.server.threads) == 2
        assert len(owner.server.applied) == 1

    play(scenario())


def test_an_upgrade_waits_until_the_reload_is_done() -> None:
    async def scenario() -> None:
        owner = Owner(Configurable())
        mine = reloading(owner)
        await mine.settled()
        owner.server.may_go_on.clear()
        waiting = asyncio.ensure_future(mine.carry_out(ReloadOrder()))
        await until(lambda: owner.server.threads)
        upgrade = asyncio.ensure_future(mine.settled())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(upgrade), 0.05)
        owner.server.may_go_on.set()
        await upgrade
        assert len(owner.server.applied) == 1
        await waiting

    play(scenario())


def test_signals_that_come_while_one_waits_are_one() -> None:
    async def scenario() -> None:
        owner = Owner(Configurable(), in_handover=True)
        mine = reloading(owner)
        for _ in range(5):
            mine.signalled()
        await until(lambda: owner.waited)
        owner.in_handover = False
        owner.calmed.set()
        await until(lambda: mine.last)
        assert len(owner.server.threads) == 1

    play(scenario())


def test_a_signal_is_passed_on_to_whoever_took_over() -> None:
    async def scenario() -> None:
        owner = Owner(Configurable(), gave_away=True)
        reloading(owner).signalled()
        await until(lambda: owner.signals)
        assert owner.signals == [signal.SIGHUP]

    play(scenario())
