"""aio-pika: with_aio_pika.py HOST:PORT COUNT HEARTBEAT CA. Fifty publishes under way, on the consumer's connection."""

from __future__ import annotations

import asyncio
import ssl
import sys
import uuid
from typing import Any

import aio_pika
from tally import Tally  # type: ignore[import-not-found]  # beside this script

PATIENCE = 60.0
ABREAST = 50


async def main() -> None:
    """Until stdin ends and as many as wanted are through."""
    tally: Any = Tally()
    scheme = "amqps" if sys.argv[4] else "amqp"
    context = ssl.create_default_context(cafile=sys.argv[4]) if sys.argv[4] else None
    host = sys.argv[1].replace("127.0.0.1", "localhost") if context is not None else sys.argv[1]
    try:
        connection = await aio_pika.connect(
            f"{scheme}://guest:guest@{host}/?heartbeat={sys.argv[3]}", ssl_context=context
        )
        channel = await connection.channel(publisher_confirms=True)
        reading = await connection.channel()
        await reading.set_qos(prefetch_count=100)
        queue = await reading.declare_queue(f"aio-{uuid.uuid4().hex}")

        complete = asyncio.Event()
        finishing = False

        async def on_message(message: Any) -> None:
            tally.delivered(message.body, again=bool(message.redelivered))
            await message.ack()
            if finishing and tally.complete:
                complete.set()

        await queue.consume(on_message)
        print("ready", flush=True)
        number = 0

        async def publish() -> None:
            nonlocal number
            while tally.going.is_set() or number < int(sys.argv[2]):
                number += 1
                own = number
                body = b"%d " % own + bytes(own % 5000)
                await channel.default_exchange.publish(aio_pika.Message(body), queue.name)
                tally.confirmed.add(own)

        await asyncio.gather(*(publish() for _ in range(ABREAST)))
        finishing = True
        if not tally.complete:
            await asyncio.wait_for(complete.wait(), PATIENCE)
        await connection.close()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test wants to know
        tally.failures.append(repr(error))
    tally.report()


asyncio.run(main())
