"""grpcio as a client: grpc_client.py PACKAGES ADDRESS CHANNELS STREAMS MESSAGES [AUTHORITY].

Each channel has so many streams of each kind of call, again and again until its stdin ends; those of both directions
have so many messages each, one at a time, and go on to their end. Prints a report. "ready" once every channel was
answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])
import grpc  # type: ignore[import-not-found,import-untyped,unused-ignore]

SIZES = (0, 10, 1000, 20000)


class Caller:
    """All channels share it."""

    def __init__(self) -> None:
        self.going = True
        self.calls = 0
        self.failures: list[str] = []

    def same(self, answer: bytes, expected: bytes, kind: str) -> None:
        if answer != expected:
            self.failures.append(f"{kind}: {len(answer)} other bytes came for {len(expected)}")

    async def unary(self, channel: Any, number: int) -> None:
        content = os.urandom(SIZES[number % 4])
        self.same(await channel.unary_unary("/test.Echo/Echo")(content), content, "unary")

    async def up(self, channel: Any, number: int) -> None:
        parts = [os.urandom(SIZES[number % 4]) for _ in range(10)]
        self.same(await channel.stream_unary("/test.Echo/Collect")(iter(parts)), b"".join(parts), "client streaming")

    async def down(self, channel: Any, number: int) -> None:
        content = (20).to_bytes(2, "big") + os.urandom(SIZES[number % 4])
        answers = [answer async for answer in channel.unary_stream("/test.Echo/Repeat")(content)]
        self.same(b"".join(answers), content * 20, "server streaming")

    async def both(self, channel: Any, number: int, messages: int) -> None:
        call = channel.stream_stream("/test.Echo/Both")()
        for index in range(messages):
            content = b"%d-%d " % (number, index) + os.urandom(SIZES[index % 3])
            await call.write(content)
            self.same(await call.read(), content, "both ways")
        await call.done_writing()
        if await call.read() is not grpc.aio.EOF:
            self.failures.append("both ways: more came than was asked for")

    async def repeat(self, kind: str, channel: Any, messages: int) -> None:
        number = 0
        while self.going:
            try:
                if kind == "both":
                    await self.both(channel, number, messages)
                else:
                    await getattr(self, kind)(channel, number)
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"{kind}: {error.code().name}: {error.details()}")
                return
            number += 1
            self.calls += 1


def opened(count: int, address: str, authority: str) -> list[Any]:
    options = [("grpc.use_local_subchannel_pool", 1)]  # a connection for each
    if authority:
        trusted = grpc.ssl_channel_credentials(Path(authority).read_bytes())
        return [grpc.aio.secure_channel(address, trusted, options=options) for _ in range(count)]
    return [grpc.aio.insecure_channel(address, options=options) for _ in range(count)]


async def main() -> None:
    address, count, streams, messages, authority = (*sys.argv[2:], "")[:5]
    caller = Caller()
    all_channels = opened(int(count), address, authority)
    for channel in all_channels:
        await caller.unary(channel, 1)
    print("ready", flush=True)
    work = [
        asyncio.ensure_future(caller.repeat(kind, channel, int(messages)))
        for channel in all_channels
        for kind in ("unary", "up", "down", "both")
        for _ in range(int(streams))
    ]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    caller.going = False
    await asyncio.gather(*work)
    print(json.dumps({"calls": caller.calls, "failures": caller.failures}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
