"""The decoder under libFuzzer, by hand: ``python -m tests.proxy.amqp.fuzz -max_total_time=60``; needs atheris.

Seeds are the files of `corpus`. An input is what a client sends if its first byte is even, else what a broker sends, on
a connection in use. What must hold is what `test_any_input` asks for: no exception, and bounded memory.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

with atheris.instrument_imports(include=["proxy.amqp"]):
    from proxy.connection import HIGH
    from tests.proxy.amqp.scene import Pair, relayed
    from tests.proxy.simulation import World

CORPUS = Path(__file__).parent / "corpus"


def one_input(data: bytes) -> None:
    """Feed it in two pieces. A bug of a layer shows as a failed assertion of the world."""
    if len(data) < 3:
        return
    world = World(relayed(listener={"max_frame": 1 << 17}))
    pair = Pair(world)
    pair.open(1)
    socket = pair.far if data[0] % 2 else pair.near
    cut = data[1]
    for piece in (data[2 : 2 + cut], data[2 + cut :]):
        if piece and not socket.closed:
            socket.send(piece)
    values: list[Any] = list(world.proxy.values().values())
    assert sum(len(one.inbox) + len(one.outbox) for one in values) < (1 << 17) + 2 * HIGH
    world.wait(100)


def main() -> None:
    """Run until libFuzzer has enough."""
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        for path in CORPUS.glob("*.hex"):
            for side in (0, 1):
                seed = bytes((side, 7)) + bytes.fromhex(path.read_text())
                (Path(folder) / f"{path.stem}-{side}").write_bytes(seed)
        atheris.Setup([*sys.argv, folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
