"""anthunder as a client: caller.py PORT DEPTH. Calls until its stdin ends, then prints what came of it."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

sys.modules.setdefault("uvloop", None)  # type: ignore[arg-type]  # asyncio's own loop will do
from anthunder import SERVICE_MAP, AioClient  # type: ignore[import-not-found]  # noqa: E402
from mytracer import SpanContext  # type: ignore[import-not-found]  # noqa: E402

SERVICE = "test.Echo:1.0"
WISH = bytes(5)  # see tests.kit.bolt_upstream: no delay, no push


def main() -> None:
    """Several threads share the client's one connection."""
    SERVICE_MAP[SERVICE] = ("127.0.0.1", int(sys.argv[1]))
    client: Any = AioClient("test")
    failures: list[str] = []
    calls = [0]
    going = threading.Event()
    going.set()

    def repeat(index: int) -> None:
        number = 0
        while going.is_set():
            number += 1
            content = WISH + b"%d-%d" % (index, number)
            try:
                answer = client.invoke_sync(SERVICE, "echo", content, spanctx=SpanContext(), timeout_ms=20_000)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test wants to know
                failures.append(repr(error))
                return
            if answer != content:
                failures.append(f"{answer!r} came for {content!r}")
            calls[0] += 1
            if calls[0] == 1:
                print("ready", flush=True)

    threads = [threading.Thread(target=repeat, args=(index,)) for index in range(int(sys.argv[2]))]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    going.clear()
    for thread in threads:
        thread.join()
    print(json.dumps({"calls": calls[0], "failures": failures}), flush=True)


if __name__ == "__main__":
    main()
