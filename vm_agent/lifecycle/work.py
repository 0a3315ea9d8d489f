"""The pieces of work: install, start, rehearse, hand over, bake, go back, stop. Each ends with an event and its reason.

All of them can be broken off at any point and begun anew, also by another agent: whatever they do is a question to the
process that serves, or is done whole or not at all.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec

from hotswap import errors
from hotswap.cli.attempt import Order
from hotswap.cli.baking import Bake as OrderedBake
from vm_agent.errors import ReleaseError, StartFailed
from vm_agent.lifecycle import judge
from vm_agent.lifecycle.sidecar import served
from vm_agent.lifecycle.states import Action, Event

if TYPE_CHECKING:
    from vm_agent.lifecycle.driver import Driver
    from vm_agent.lifecycle.memory import Operation
    from vm_agent.spec.model import Spec

Done = tuple[Event, str]

_LOOK_SECONDS = 0.25
_WAYS_BACK = 3
_AGAIN_SECONDS = 1.0
_CHECK_SECONDS = 30.0
_HINDRANCES = frozenset(kind.exit_code for kind in (errors.Busy, errors.NotRunning, errors.PermissionDenied))
_DEFAULT_PROGRAM = "bin/hotswap"


class Work:
    """Of one sidecar."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def carry_out(self, action: Action) -> Done:
        """What came of it. Raises `HotswapError`, which means `Event.FAILED`."""
        match action:
            case Action.INSTALL:
                return await self._install()
            case Action.START:
                return await self._start()
            case Action.REHEARSE:
                return await self._rehearse()
            case Action.HAND_OVER:
                return await self._hand_over()
            case Action.BAKE:
                return await self._bake()
            case Action.GO_BACK:
                return await self._go_back()
            case Action.STOP:
                return await self._stop()
        raise errors.HotswapError(f"{action} is no work: a bug")

    # -- before anything moves --------------------------------------------------------------------

    async def _install(self) -> Done:
        driver, spec = self._driver, self._spec()
        operation = driver.memory.operation
        version = spec.release if operation is None else operation.after
        condemned = driver.memory.condemned
        current = driver.desk.releases.current(driver.name)
        if operation is None and current and condemned is not None and condemned.release == version:
            version = current  # nothing serves: what was good comes before what is wanted
        release = await driver.desk.releases.install(version, spec.command[0])
        if operation is None and current != version:
            driver.desk.releases.point(driver.name, version)
        if spec.command[0] == _DEFAULT_PROGRAM:
            await check([str(release.path / _DEFAULT_PROGRAM), "check", "-c", spec.config])
        return Event.INSTALLED, f"release {version}"

    async def _start(self) -> Done:
        driver, spec = self._driver, self._spec()
        releases = driver.desk.releases
        current = releases.current(driver.name)
        if not current:
            raise ReleaseError(f"{driver.name} has no current release")
        await driver.desk.runner.start(driver.launch(spec))
        driver.serving = current
        driver.note("started", f"release {current}", release=current)
        return Event.READY, ""

    async def _rehearse(self) -> Done:
        """Preflight: the new version starts, restores everything inert, aborts."""
        driver, spec = self._driver, self._spec()
        operation = driver.operation
        command = self._command(spec, operation.after)
        order = Order(command=command, cwd=self._cwd(spec), timeout=spec.upgrade.timeout, dry_run=True)
        result = await driver.sidecar.upgrade(order, driver.audience.follow)
        if not result.get("ok"):
            return _failure(result), f"preflight of release {operation.after}: {result.get('message')}"
        driver.note("rehearsed", str(result.get("message") or ""), release=operation.after)
        return Event.REHEARSED, ""

    # -- the handover -----------------------------------------------------------------------------

    async def _hand_over(self) -> Done:
        driver, spec = self._driver, self._spec()
        operation = driver.operation
        running = await driver.desk.runner.look(driver.name)
        bake = None if operation.back else await driver.care.begin_bake(spec.upgrade, time.time())
        restarts = 0 if running is None else running.restarts
        driver.change(operation, bake=bake, restarts=restarts)
        policy = spec.upgrade
        judged = OrderedBake(
            seconds=policy.bake,
            error_rate=policy.abort_if.error_rate,
            crashes=policy.abort_if.crashes,
            min_requests=policy.min_requests,
        )
        order = Order(
            command=self._command(spec, operation.after),
            cwd=self._cwd(spec),
            timeout=policy.timeout,
            why=operation.why,
            bake=None if operation.back else judged,
        )
        result = await driver.sidecar.upgrade(order, driver.audience.follow)
        if not result.get("ok") and not await self._moved_all_the_same(operation):
            return _failure(result), f"handover to release {operation.after}: {result.get('message')}"
        driver.serving = operation.after
        if bake is not None:
            begun = await driver.care.begin_bake(spec.upgrade, time.time())
            driver.change(driver.operation, bake=msgspec.structs.replace(bake, until=begun.until, start=begun.start))
        figures = {key: result[key] for key in ("connections", "in_flight", "downtime_ms") if key in result}
        driver.note("moved", str(result.get("message") or ""), release=operation.after, **figures)
        return Event.MOVED, ""

    async def _moved_all_the_same(self, operation: Operation) -> bool:
        """What broke off in the middle is known by who serves."""
        status = await self._driver.sidecar.settled()
        return status is not None and await self._driver.sidecar.release(status) == operation.after

    # -- the bake ---------------------------------------------------------------------------------

    async def _bake(self) -> Done:
        driver, spec = self._driver, self._spec()
        operation = driver.operation
        if operation.back:
            return Event.PASSED, operation.why
        if operation.bake is None:  # begun by somebody else, or by an agent that died before it could write it down
            operation = driver.change(operation, bake=await driver.care.begin_bake(spec.upgrade, time.time()))
        bake = operation.bake
        assert bake is not None  # noqa: S101  for mypy
        while True:
            back = await self._went_back(operation)
            if back is not None:
                return back
            verdict = await driver.care.judge(operation, bake, time.time())
            if isinstance(verdict, judge.Failed):
                return Event.CONDEMNED, verdict.text
            if isinstance(verdict, judge.Passed) and not await self._judges_itself():
                return Event.PASSED, verdict.text
            await asyncio.sleep(_LOOK_SECONDS)

    async def _judges_itself(self) -> bool:
        """The generation's own bake is not over, or it is about to take itself back."""
        try:
            return bool((await self._driver.sidecar.status()).get("baking"))
        except errors.HotswapError:
            return False

    async def _went_back(self, operation: Operation) -> Done | None:
        """Whether the release from before serves again without our doing."""
        driver = self._driver
        try:
            status = await driver.sidecar.status()
            if status.get("state") == "handover":
                return None
            serving = await driver.sidecar.release(status)
        except errors.HotswapError:
            return None  # health checks notice if it lasts
        if serving == operation.after or not serving:
            return None
        driver.serving = serving
        return Event.RETURNED, await self.why_returned() or f"release {serving} serves again"

    async def why_returned(self) -> str:
        """Why the release from before serves: taken back, or started after the new one died."""
        driver = self._driver
        try:
            records = await driver.sidecar.history()
            status = await driver.sidecar.status()
        except errors.HotswapError:
            return ""
        current = served(records, status.get("generation"))
        if current.get("how") == "cold":
            running = await driver.desk.runner.look(driver.name)
            ending = "" if running is None or not running.ending else f" ({running.ending})"
            return f"the new generation died in its bake{ending}; the release before was started with its listeners"
        for record in reversed(records):
            outcome = str(record.get("outcome"))
            if outcome.startswith("rolled back"):
                return outcome
        return ""

    async def _go_back(self) -> Done:
        driver, spec = self._driver, self._spec()
        operation, failures, trouble = driver.operation, 0, ""
        order = Order(
            command=self._command(spec, operation.before),
            cwd=self._cwd(spec),
            timeout=spec.upgrade.timeout,
            rollback=True,
            force=True,
            why=driver.condemnation,
        )
        while failures < _WAYS_BACK:
            status = await driver.sidecar.settled()
            if status is None:  # it died, and the release from before is being started; or `Event.LOST` comes
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            if await driver.sidecar.release(status) == operation.before:
                break
            result = await driver.sidecar.upgrade(order, driver.audience.follow)
            if result.get("ok"):
                break
            # Busy: it takes itself back at this moment.
            if result.get("exit_code") != errors.Busy.exit_code:
                failures += 1
                trouble = str(result.get("message"))
                driver.note("not taken back", trouble, attempt=failures)
            await asyncio.sleep(_AGAIN_SECONDS)
        else:
            return Event.FAILED, f"{driver.condemnation}; could not be taken back and serves on: {trouble}"
        driver.serving = operation.before
        return Event.RETURNED, driver.condemnation

    async def _stop(self) -> Done:
        driver = self._driver
        seconds = self._spec().run.stop_timeout
        await driver.desk.runner.stop(driver.name, seconds)
        await driver.care.leave()
        driver.serving = ""
        driver.note("stopped")
        return Event.STOPPED, ""

    # -- what they need ---------------------------------------------------------------------------

    def _spec(self) -> Spec:
        spec = self._driver.spec or self._driver.memory.spec
        if spec is None:
            raise StartFailed("its spec is gone")
        return spec

    def _command(self, spec: Spec, version: str) -> list[str]:
        return list(self._driver.desk.command(spec, self._driver.desk.releases.directory / version))

    def _cwd(self, spec: Spec) -> str:
        return str(self._driver.launch(spec).directory)


def _failure(result: dict[str, Any]) -> Event:
    """Whether the release is to blame."""
    return Event.HINDERED if result.get("exit_code") in _HINDRANCES else Event.FAILED


async def check(command: list[str]) -> None:
    """Run `hotswap check` of a release. Raises `StartFailed` with its words."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            output, _ = await process.communicate()
    except (TimeoutError, asyncio.CancelledError) as error:
        process.kill()
        await process.wait()
        if isinstance(error, asyncio.CancelledError):
            raise
        raise StartFailed(f"{' '.join(command)} did not end within {_CHECK_SECONDS:g} s") from None
    if process.returncode:
        words = output.decode(errors="replace").strip()[-2000:]
        raise StartFailed(f"the configuration does not suit the release: {words}")
