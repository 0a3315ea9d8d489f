"""dubbo-python as a client: caller.py HOST:PORT DEPTH. Calls until its stdin ends, then prints what came of it."""

from __future__ import annotations

import json
import sys
import threading
from types import ModuleType
from typing import Any

nacos, client = ModuleType("nacos"), ModuleType("nacos.client")  # a registry that nobody asks here
for name in ("NacosClient", "HTTPError", "HTTPStatus", "NacosException"):
    setattr(client, name, type(name, (Exception,), {}))
for name in ("logger", "group_key", "read_file_str", "json", "truncate", "save_file"):
    setattr(client, name, None)
sys.modules.update({"nacos": nacos, "nacos.client": client})

from dubbo.client import DubboClient  # type: ignore[import-not-found]  # noqa: E402


def main() -> None:
    """Several threads share the client's one connection."""
    echo: Any = DubboClient("test.Echo", version="1.0.0", host=sys.argv[1])
    failures: list[str] = []
    calls = [0]
    going = threading.Event()
    going.set()

    def repeat(index: int) -> None:
        number = 0
        while going.is_set():
            number += 1
            text = f"{index}-{number}"
            try:
                answer = echo.call("echo", [text, number % 20], timeout=20)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test wants to know
                failures.append(repr(error))
                return
            if answer != text:
                failures.append(f"{answer!r} came for {text!r}")
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
