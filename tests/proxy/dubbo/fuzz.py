"""The decoder under libFuzzer, by hand: ``python -m tests.proxy.dubbo.fuzz -max_total_time=60``; needs atheris.

Seeds are the files of `corpus`. The first byte of an input says what the rest is: what a client sends, or a server, or
a client where filters read and edit everything; or a body alone. What must hold is what `test_any_input` and
`test_body` ask for: no exception but those that are documented, and bounded memory.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

with atheris.instrument_imports(include=["proxy.dubbo", "proxy.multiplexed"]):
    from proxy.connection import HIGH
    from proxy.dubbo.body import read_call
    from proxy.dubbo.messages import AnswerBody, CallBody
    from tests.kit import dubbo
    from tests.proxy.dubbo.scene import BY_GROUP, BY_INTERFACE, edited, pair, rpc
    from tests.proxy.simulation import World

CORPUS = Path(__file__).parent / "corpus"
LIMIT = 1 << 17


def one_input(data: bytes) -> None:
    """A bug of a layer shows as a failed assertion of the world."""
    if len(data) < 3:
        return
    kind, cut, rest = data[0] % 4, data[1], data[2:]
    if kind == 3:
        one_body(rest)
        return
    if kind == 2:
        world = World(edited())
    else:
        world = World(rpc(routes=(*BY_GROUP, *BY_INTERFACE), listener={"max_frame": LIMIT}))
    client, server, _ = pair(world)
    socket = server if kind == 1 else client
    for piece in (rest[:cut], rest[cut:]):
        if piece and not socket.closed:
            socket.send(piece)
    if kind == 2 and not server.ended:
        server.send(dubbo.encode(0, 20, 2, rest))
    values: list[Any] = list(world.proxy.values().values())
    assert sum(len(one.inbox) + len(one.outbox) for one in values) < LIMIT + 2 * HIGH
    world.wait(100)


def one_body(body: bytes) -> None:
    """It is read, and what is edited can be read again; or it is refused with `ValueError`."""
    for make in (lambda: CallBody(body, {}, "client"), lambda: AnswerBody(body, {}, 20)):
        try:
            message = make()
        except ValueError:
            continue
        assert message.text() == body or not message._map.entries
        message.set("X-Edge", "one")
        message.remove("x-edge")
    try:
        call = read_call(body)
    except ValueError:
        return
    message = CallBody(body, {}, "client")
    message.set("X-Edge", "one")
    assert read_call(message.text()).attachments[b"X-Edge"] == b"one"
    assert read_call(message.text()).interface == call.interface


def main() -> None:
    """Run until libFuzzer has enough."""
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        for path in CORPUS.glob("*.hex"):
            seed = bytes.fromhex(path.read_text())
            for kind in range(4):
                (Path(folder) / f"{path.stem}-{kind}").write_bytes(
                    bytes((kind, 7)) + (seed[16:] if kind == 3 else seed)
                )
        atheris.Setup([*sys.argv, folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
