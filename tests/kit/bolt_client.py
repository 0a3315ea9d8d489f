"""The bolt connections of `tests.kit.load`: many calls under way, answers in any order, heartbeats, oneway calls.

The first bytes of a content tell the upstream what to do with it, see `tests.kit.bolt_upstream`.
"""

from __future__ import annotations

import asyncio

from tests.kit import bolt, http
from tests.kit.bolt_upstream import Wish
from tests.kit.frames import Corrupt
from tests.kit.load_clients import LISTEN, BadStatus, Client

HEARTBEATS = 20  # one after so many calls
ONEWAYS = 30
PUSHES = 40


class Bolt(Client):
    """`bolt_calls` calls under way at a time; each content must come back to the call that sent it.

    Calls and oneway calls have trace ids, which no two of a load share.
    """

    kind = "bolt"

    @property
    def address(self) -> str:
        return self.plan.bolt_address

    async def connect(self) -> None:
        await super().connect()
        self.dialect = bolt.DIALECTS[self.index % len(bolt.DIALECTS)]
        self.frames = bolt.FrameReader()
        self.waiting: dict[int, tuple[bytes | None, float]] = {}
        self.last_id = self.random.randrange(1 << 31)
        self.sent = 0

    @property
    def hold(self) -> float:
        """Milliseconds that the upstream keeps a call, in the mean."""
        together: float = getattr(self.plan, self.kind) / getattr(self.plan, f"{self.kind}_rate")
        return 1000 * together * self.depth

    @property
    def depth(self) -> int:
        """Calls under way at a time."""
        return int(getattr(self.plan, f"{self.kind}_calls"))

    async def exchange(self) -> None:
        while len(self.waiting) < self.depth:
            self.call()
        await self.answers(1)

    async def answers(self, count: int) -> None:
        """Read until so many calls are answered."""
        left = len(self.waiting) - count
        while len(self.waiting) > left:
            self.doing = f"{len(self.waiting)} calls under way"
            data = await self.reader.read(http.PIECE)
            if not data:
                raise http.Closed(f"ended with {len(self.waiting)} calls under way")
            self.arrived(data)

    def arrived(self, data: bytes) -> None:
        for frame in self.frames.feed(data):
            self.take(frame)

    def call(self) -> None:
        """One more; now and then something else beside it."""
        self.sent += 1
        push = self.sent % PUSHES == 0 and not self.plan.reconnect  # a server whose client is lost would complain
        self.begin(Wish(delay=round(self.random.uniform(0, 2 * self.hold)), push=push))
        if self.sent % ONEWAYS == 0:
            self.write_call(self.fresh(), Wish().content(b"oneway"), oneway=True)
        if self.sent % HEARTBEATS == 0:
            number = self.fresh()
            self.waiting[number] = (None, asyncio.get_running_loop().time())
            self.writer.write(self.heartbeat(number))
            self.called["heartbeat"] += 1

    def begin(self, wish: Wish) -> None:
        content = wish.content(self.random.randbytes(self.random.randrange(1, 2000)))
        number = self.fresh()
        self.waiting[number] = (content, asyncio.get_running_loop().time())
        self.write_call(number, content)

    def write_call(self, number: int, content: bytes, *, oneway: bool = False) -> None:
        trace = f"{self.index}-{number}"
        self.writer.write(bolt.call(self.dialect, number, content, oneway=oneway, trace=trace))
        self.called["oneway" if oneway else "call"] += 1

    def heartbeat(self, number: int) -> bytes:
        return bolt.heartbeat(self.dialect, number)

    def fresh(self) -> int:
        self.last_id = (self.last_id + 1) & 0x7FFFFFFF
        return self.last_id

    def take(self, frame: bolt.Frame) -> None:
        if frame.dialect.version != self.dialect.version:
            raise Corrupt(f"version {frame.dialect.version} came, {self.dialect.version} is spoken here")
        if frame.type:
            if frame.type == bolt.REQUEST:
                self.writer.write(bolt.answer(self.dialect, frame.id, frame.content))
            return
        beat = frame.command == bolt.HEARTBEAT
        self.answered(frame.id, frame.timeout, None if beat and not frame.content else frame.content)

    def answered(self, number: int, error: int, content: bytes | None) -> None:
        """An answer; None is that to a heartbeat, `error` the status of what failed."""
        expected = self.waiting.pop(number, None)
        if expected is None:
            raise Corrupt(f"an answer to {number} came, which is not under way")
        sent, since = expected
        if error:
            raise BadStatus(f"status {error} for a call that began {self.age(since):.2f} s ago")
        if sent != content:
            raise Corrupt(f"call {number} got another call's answer")
        self.beat(self.age(since) if sent is None else 0.0)

    def age(self, since: float) -> float:
        return asyncio.get_running_loop().time() - since

    async def prove(self) -> None:
        await self.answers(len(self.waiting))
        self.begin(Wish())
        await self.answers(1)

    async def listen_once_more(self) -> None:
        """As its base, but for requests of the server, which may come at any time."""
        self.doing = "leaving"
        try:
            async with asyncio.timeout(LISTEN):
                while data := await self.reader.read(http.PIECE):
                    self.arrived(data)
        except TimeoutError:
            return
        raise http.Closed("ended by the other side")
