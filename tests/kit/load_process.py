"""The process behind `tests.kit.load`; `tests.kit.load_clients` says what each connection does."""

from __future__ import annotations

import asyncio
import resource
import ssl
import sys
from collections import Counter
from typing import Any

import msgspec

from tests.kit import http
from tests.kit.bolt_client import Bolt
from tests.kit.companion import converse, say
from tests.kit.dubbo_client import Dubbo
from tests.kit.frames import Corrupt
from tests.kit.load import KINDS, Cause, Failure, Plan, Report
from tests.kit.load_clients import ALL, BadStatus, Client

MOST_FAILURES = 200  # kept in full; all are counted
RETRY = 0.1  # seconds before a failed client connects again


def cause_of(error: BaseException) -> Cause:
    """The kind of failure."""
    causes: list[tuple[type[BaseException] | tuple[type[BaseException], ...], Cause]] = [
        ((ConnectionRefusedError, FileNotFoundError), "refused"),
        (ConnectionError, "reset"),
        ((http.Closed, ssl.SSLEOFError), "closed"),
        ((Corrupt, ssl.SSLError), "corrupt"),
        (BadStatus, "status"),
        (TimeoutError, "silent"),
    ]
    return next((cause for kind, cause in causes if isinstance(error, kind)), "other")


class Crowd:
    """All clients of one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.finishing = asyncio.Event()
        kinds: tuple[type[Client], ...] = (*ALL, Bolt, Dubbo)
        self.clients: list[Client] = [
            kind(plan, index, self.finishing) for kind in kinds for index in range(getattr(plan, kind.kind))
        ]
        self.failures: list[Failure] = []
        self.failed = 0
        self.began = 0.0
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Connect everybody and wait until each has begun, or failed to."""
        self.began = asyncio.get_running_loop().time()
        self.tasks = [asyncio.create_task(self.drive(client)) for client in self.clients]
        await asyncio.gather(*(client.started.wait() for client in self.clients))

    async def drive(self, client: Client) -> None:
        """One client for its whole life: again and again if the plan says so, else until its first failure."""
        while True:
            try:
                await self.serve(client)
                return
            except Exception as error:  # noqa: BLE001 - whatever goes wrong is what this process exists to report
                self.fail(client, cause_of(error), repr(error))
            finally:
                client.close()
            if not self.plan.reconnect or self.finishing.is_set():
                client.alive = False
                return
            await client.pause(RETRY)

    async def serve(self, client: Client) -> None:
        patience = self.plan.patience + (self.plan.stream_seconds if client.kind == "streams" else 0)
        async with asyncio.timeout(patience):
            await client.connect()
        while not self.finishing.is_set():
            if client.kind == "idle":
                await client.exchange()
            else:
                async with asyncio.timeout(patience):
                    await client.exchange()
            client.exchanges += 1
        async with asyncio.timeout(patience):
            await client.prove()
        await client.listen_once_more()
        client.doing = "finished"

    def fail(self, client: Client, cause: Cause, text: str) -> None:
        self.failed += 1
        client.started.set()
        if len(self.failures) < MOST_FAILURES:
            when = round(asyncio.get_running_loop().time() - self.began, 3)
            self.failures.append(Failure(when, client.kind, client.index, cause, client.doing, text))

    async def answer(self, question: dict[str, Any]) -> Report:
        if question["do"] == "turn":
            await self.turn(question["within"])
        elif question["do"] == "finish":
            await self.finish(question["within"])
        return self.report()

    async def turn(self, within: float) -> None:
        """Until every live client that moves by itself has moved once more."""
        before = {client: client.beats for client in self.clients if client.moving and client.alive}
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while late := [client for client, beats in before.items() if client.alive and client.beats == beats]:
            if loop.time() > end:
                for client in late:
                    self.fail(client, "silent", f"did not move for {within:g} s")
                return
            await asyncio.sleep(0.01)

    async def finish(self, within: float) -> None:
        self.finishing.set()
        _, hanging = await asyncio.wait(self.tasks, timeout=within) if self.tasks else (set(), set())
        for client, task in zip(self.clients, self.tasks, strict=True):
            if task in hanging:
                self.fail(client, "silent", f"did not finish within {within:g} s")
                task.cancel()

    def report(self) -> Report:
        by_kind = {kind: [client for client in self.clients if client.kind == kind] for kind in KINDS}
        present = {kind: clients for kind, clients in by_kind.items() if clients}
        return Report(
            seconds=asyncio.get_running_loop().time() - self.began,
            exchanges={kind: sum(client.exchanges for client in clients) for kind, clients in present.items()},
            connected={kind: sum(client.connects for client in clients) for kind, clients in present.items()},
            longest_gap={kind: max(client.gap for client in clients) for kind, clients in present.items()},
            calls=dict(sum((client.called for client in self.clients), Counter())),
            failures=self.failures,
            failed=self.failed,
        )


async def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd = Crowd(msgspec.json.decode(sys.argv[1], type=Plan))
    await crowd.start()
    say(crowd.report())
    await converse(crowd.answer)


if __name__ == "__main__":
    asyncio.run(main())
