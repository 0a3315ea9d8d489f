"""pika: with_pika.py HOST:PORT COUNT HEARTBEAT CA. One thread publishes, one consumes."""

from __future__ import annotations

import ssl
import sys
import threading
import time
import uuid
from typing import Any

import pika  # type: ignore[import-untyped]
from tally import Tally  # type: ignore[import-not-found]  # beside this script

PATIENCE = 60.0


def connect() -> Any:
    """A connection."""
    host, _, port = sys.argv[1].rpartition(":")
    options = None
    if sys.argv[4]:
        options = pika.SSLOptions(ssl.create_default_context(cafile=sys.argv[4]), "localhost")
    parameters = pika.ConnectionParameters(host, int(port), heartbeat=int(sys.argv[3]), ssl_options=options)
    return pika.BlockingConnection(parameters)


def main() -> None:
    """Until stdin ends and as many as wanted are through."""
    tally: Any = Tally()
    queue = f"pika-{uuid.uuid4().hex}"
    ready = threading.Event()
    done = threading.Event()

    def consume() -> None:
        try:
            connection = connect()
            channel = connection.channel()
            channel.queue_declare(queue)
            channel.basic_qos(prefetch_count=50)

            def on_message(channel: Any, method: Any, _: Any, body: bytes) -> None:
                tally.delivered(body, again=method.redelivered)
                channel.basic_ack(method.delivery_tag)

            channel.basic_consume(queue, on_message)
            ready.set()
            while not done.is_set():
                connection.process_data_events(0.2)
            connection.close()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test wants to know
            tally.failures.append(f"consumer: {error!r}")
            ready.set()

    thread = threading.Thread(target=consume)
    thread.start()
    ready.wait()
    try:
        connection = connect()
        channel = connection.channel()
        channel.confirm_delivery()
        print("ready", flush=True)
        number = 0
        while (tally.going.is_set() or number < int(sys.argv[2])) and not tally.failures:
            number += 1
            channel.basic_publish("", queue, b"%d " % number + bytes(number % 300))
            tally.confirmed.add(number)
        until = time.monotonic() + PATIENCE
        while not tally.complete and not tally.failures and time.monotonic() < until:
            connection.process_data_events(0.2)
        connection.close()
    except Exception as error:  # noqa: BLE001
        tally.failures.append(f"publisher: {error!r}")
    done.set()
    thread.join()
    tally.report()


main()
