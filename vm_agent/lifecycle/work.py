"""The pieces of work: install, start, rehearse, hand over, bake, go back, stop. Each ends with an event and its reason.

All of them can be broken off at any point and begun anew, also by another agent: whatever they do is a question to the
process that serves, or is done whole or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from hotswap import errors
from hotswap.chain import Bake as OrderedBake
from hotswap.log import fields
from hotswap.orders import Order
from vm_agent.errors import ReleaseError, StartFailed
from vm_agent.lifecycle import judge
from vm_agent.lifecycle.sidecar import served
from vm_agent.lifecycle.states import Action, Event
from vm_agent.lifecycle.wishes import digest
from vm_agent.runners.plan import clean_environment
from vm_agent.spec.model import Run
from vm_agent.spec.window import opens

if TYPE_CHECKING:
    from vm_agent.lifecycle.driver import Driver
    from vm_agent.lifecycle.memory import Operation
    from vm_agent.spec.model import Spec

Done = tuple[Event, str]

_LOOK_SECONDS = 0.25
_SURE_LOOKS = 4  # that find a process of somebody else's
_TROUBLE_SECONDS = 60.0  # without being able to judge
_DOUBTS = 5
_LINKS = 3
_WAYS_BACK = 3
_WAY_BACK_SECONDS = 60.0  # beyond a start and a handover
_AGAIN_SECONDS = 1.0
_CHECK_SECONDS = 30.0
_HINDRANCES = frozenset(
    kind.exit_code
    for kind in (errors.Busy, errors.NotRunning, errors.PermissionDenied, errors.OwnerHung, errors.SourceHung)
)
_DEFAULT_PROGRAM = "bin/hotswap"

log = logging.getLogger("vm_agent")


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
        current = driver.desk.releases.current(driver.name)
        if operation is None and current and self._waits(spec, current):
            version = current  # nothing serves: what was good comes before what is wanted
        elif operation is not None:
            self._require_memory()
        release = await driver.desk.releases.install(version, spec.command[0])
        if operation is None and current != version:
            driver.desk.releases.point(driver.name, version)
        if spec.command[0] == _DEFAULT_PROGRAM:
            await check([str(release.path / _DEFAULT_PROGRAM), "check", "-c", spec.config])
            if operation is not None and operation.before:
                await self._look_back(spec, operation)
        return Event.INSTALLED, f"release {version}"

    def _waits(self, spec: Spec, current: str) -> bool:
        """The release that is wanted is not to be started now, though nothing serves."""
        memory = self._driver.memory
        bad = memory.condemned
        if bad is not None and bad.release == spec.release and bad.digest == digest(spec):
            return True
        later = memory.paused or not opens(spec.upgrade.window, datetime.now().astimezone())
        return later and current == memory.proven

    def _require_memory(self) -> None:
        """What cannot be written down is not begun: who is killed in it would not know. Raises `HotswapError`."""
        if self._driver.unwritten:
            raise errors.HotswapError(f"an upgrade would not be remembered: {self._driver.unwritten}")

    async def _look_back(self, spec: Spec, operation: Operation) -> None:
        """Whether the release from before could read the configuration; else it is told while it is time."""
        program = self._driver.desk.releases.directory / operation.before / _DEFAULT_PROGRAM
        try:
            await check([str(program), "check", "-c", spec.config])
        except (OSError, StartFailed) as error:
            self._driver.note("no way back", f"release {operation.before} could not follow: {error}")

    async def _start(self) -> Done:
        driver, spec = self._driver, self._spec()
        releases = driver.desk.releases
        current = releases.current(driver.name)
        if not current:
            raise ReleaseError(f"{driver.name} has no current release")
        await driver.desk.runner.start(driver.desk.launch(spec))
        driver.serving = current
        driver.note("started", f"release {current}", release=current)
        return Event.READY, ""

    async def _rehearse(self) -> Done:
        """Preflight: the new version starts, restores everything inert, aborts."""
        driver, spec = self._driver, self._spec()
        operation = driver.operation
        self._require_memory()
        await self._require_serving()
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
        self._require_memory()
        await self._require_serving()
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
            try:
                begun = await driver.care.begin_bake(spec.upgrade, time.time())
                driver.change(
                    driver.operation, bake=msgspec.structs.replace(bake, until=begun.until, start=begun.start)
                )
            except Exception:  # it serves already, and is to be judged by what was counted a moment before
                log.exception("counting anew failed", extra=fields(sidecar=driver.name))
        figures = {key: result[key] for key in ("connections", "in_flight", "downtime_ms") if key in result}
        driver.note("moved", str(result.get("message") or ""), release=operation.after, **figures)
        return Event.MOVED, ""

    async def _moved_all_the_same(self, operation: Operation) -> bool:
        """What broke off in the middle is known by who serves."""
        sidecar = self._driver.sidecar
        for _ in range(_DOUBTS):
            with contextlib.suppress(errors.HotswapError):
                status = await sidecar.settled()
                return status is not None and await sidecar.release(status) == operation.after
            await asyncio.sleep(_AGAIN_SECONDS)
        return True  # a bake finds out who serves, and whether it hangs

    async def _require_serving(self) -> None:
        """Who drains hands nothing over, whatever the release. Raises `HotswapError`."""
        status = await self._driver.sidecar.status()
        if status.get("state") == "draining":
            raise errors.Busy(f"{self._driver.name} is draining, and is started anew when it ends")

    # -- the bake ---------------------------------------------------------------------------------

    async def _bake(self) -> Done:
        driver, spec = self._driver, self._spec()
        operation = driver.operation
        if operation.back:
            return await self._passed(operation, operation.why)
        if operation.bake is None:  # begun by somebody else, or by an agent that died before it could write it down
            operation = driver.change(operation, bake=await driver.care.begin_bake(spec.upgrade, time.time()))
        bake = operation.bake
        assert bake is not None  # noqa: S101  for mypy
        # The wall clock is for an agent after this one only: it may be set meanwhile.
        now = time.monotonic()
        end = now + min(max(bake.until - time.time(), 0.0), spec.upgrade.bake)
        judged, strange = now, 0
        while True:
            serving = await self._serving()
            strange = strange + 1 if serving == "" else 0
            if serving not in {None, "", operation.after} or strange >= _SURE_LOOKS:
                return await self._returned(serving or "")
            now = time.monotonic()
            try:
                verdict = await driver.care.judge(operation, bake, bake.until - max(end - now, 0.0))
                judged = now
            except errors.HotswapError:  # systemd is reloaded, say
                if now - judged > _TROUBLE_SECONDS:
                    raise
                verdict = judge.GoingOn()
            if isinstance(verdict, judge.Failed):
                return Event.CONDEMNED, verdict.text
            if isinstance(verdict, judge.Passed) and not strange and not await self._judges_itself():
                return await self._passed(operation, verdict.text)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _passed(self, operation: Operation, why: str) -> Done:
        """From now on it is this release that is started."""
        driver, trouble = self._driver, ""
        for _ in range(_LINKS):
            try:
                driver.desk.releases.point(driver.name, operation.after)
            except ReleaseError as error:
                trouble = str(error)
                driver.desk.history.note_once(driver.name, "not kept", trouble)
            else:
                return Event.PASSED, why
            await asyncio.sleep(_AGAIN_SECONDS)
        if operation.back:  # what was left is worse
            return Event.PASSED, f"{why}; but {trouble}"
        return Event.FAILED, f"it cannot be kept: {trouble}"

    async def _judges_itself(self) -> bool:
        """The generation's own bake is not over, or it is about to take itself back."""
        try:
            return bool((await self._driver.sidecar.status()).get("baking"))
        except errors.HotswapError:
            return False

    async def _serving(self) -> str | None:
        """The release that serves; empty: none that the agent installed; None: not known now."""
        sidecar = self._driver.sidecar
        try:
            status = await sidecar.status()
            return None if status.get("state") == "handover" else await sidecar.release(status)
        except errors.HotswapError:
            return None  # health checks notice if it lasts

    async def _returned(self, serving: str) -> Done:
        """Another one serves without our doing, mostly the one from before."""
        self._driver.serving = serving
        if not serving:
            return Event.RETURNED, "something that the agent did not install was put in its place"
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
        operation, failures, trouble = driver.operation, 0, "nothing answers"
        order = Order(
            command=self._command(spec, operation.before) if operation.before else None,  # None: it knows itself
            cwd=self._cwd(spec),
            timeout=spec.upgrade.timeout,
            rollback=True,
            force=True,
            why=driver.condemnation,
        )
        end = time.monotonic() + max(spec.upgrade.timeout, spec.run.start_timeout) + _WAY_BACK_SECONDS
        while failures < _WAYS_BACK and time.monotonic() < end:
            try:
                status = await driver.sidecar.settled()
                if status is None:  # it died, and the release from before is being started; or `Event.LOST` comes
                    await asyncio.sleep(_LOOK_SECONDS)
                    continue
                if await driver.sidecar.release(status) == operation.before:
                    break
                result = await driver.sidecar.upgrade(order, driver.audience.follow)
            except errors.HotswapError as error:
                result = {"ok": False, "exit_code": error.exit_code, "message": str(error)}
                await self._kill_if_hung(error)
            if result.get("ok"):
                break
            trouble = str(result.get("message"))
            # Busy: it takes itself back at this moment.
            if result.get("exit_code") not in {errors.Busy.exit_code, errors.NotRunning.exit_code}:
                failures += 1
                driver.note("not taken back", trouble, attempt=failures)
            await asyncio.sleep(_AGAIN_SECONDS)
        else:
            return Event.FAILED, f"{driver.condemnation}; could not be taken back and serves on: {trouble}"
        driver.serving = operation.before
        return Event.RETURNED, driver.condemnation

    async def _kill_if_hung(self, error: errors.HotswapError) -> None:
        """It hands nothing over, and what follows it is what the link names: the release from before."""
        if isinstance(error, errors.OwnerHung):
            await self._driver.care.kill(f"it hangs and cannot be taken back: {error}")

    async def _stop(self) -> Done:
        driver = self._driver
        spec = driver.spec or driver.memory.spec
        seconds = Run().stop_timeout if spec is None else spec.run.stop_timeout
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
        return str(self._driver.desk.launch(spec).directory)


def _failure(result: dict[str, Any]) -> Event:
    """Whether the release is to blame."""
    return Event.HINDERED if result.get("exit_code") in _HINDRANCES else Event.FAILED


async def check(command: list[str]) -> None:
    """Run `hotswap check` of a release. Raises `StartFailed` with its words."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=clean_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
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
