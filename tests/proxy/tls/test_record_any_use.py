"""Any calls in any order, and what nobody should send or save: C and its twin answer alike, and refuse alike."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from proxy.tls.errors import NotOwner, TlsError
from proxy.tls.suites import TLS13, Suite
from proxy.tls.twin import CALL_AGAIN
from tests.proxy.tls.records import ALERT, BOTH, DATA, HANDSHAKE, NATIVE_KINDS, begin, implementation, vaults

STORIES = range(200)
LAST = 2**64 - 1
NUMBERS = (0, 1, 5, 2**63, LAST - 40, LAST - 1, LAST)
KEY_UPDATE = b"\x18\x00\x00\x01\x00"
IN_CLEAR = 42
"""Bytes of a state in front of the secrets."""


class World:
    """Both sides of a connection as one implementation has them."""

    def __init__(self, name: str, suite: Suite, seqs: list[int], settings: dict[str, int]) -> None:
        self.module = implementation(name)
        self.permit = self.module.Permit()
        self.permit.grant()
        self.saving, self.reading = vaults(self.module, self.module)
        self.states: list[bytes] = []
        self.layers = [
            begin(name, suite, server=server, permit=self.permit, tx_seq=tx, rx_seq=rx, **settings)
            for server, (tx, rx) in ((False, seqs), (True, seqs[::-1]))
        ]

    def save(self, side: int) -> bytes:
        self.states.append(self.layers[side].save(self.saving))
        return self.states[-1][:IN_CLEAR]

    def restore(self, side: int, state: bytes) -> None:
        self.layers[side] = self.module.RecordLayer.restore(state, self.reading, self.permit)

    def seen(self) -> list[Any]:
        return [(repr(one), one.limit, one.tx_seq, one.rx_seq, one.tx_explicit) for one in self.layers]


class Story:
    """What happens is up to chance; `wire` is what is under way to each side."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.suite = chance.choice(NATIVE_KINDS)
        limit = chance.choice((1, 50, 1000, 16384))
        self.sizes = (0, 0, 1, 2, 100) if limit == 1 else (0, 1, 2, 100, 5000, 16384, 16385, 40_000)
        settings = {
            "limit": limit,
            "rekey_at": chance.choice((1, 3, 17, 1 << 23, LAST)),
            "tx_explicit": chance.choice(NUMBERS),
        }
        seqs = chance.choices(NUMBERS, k=2)
        self.worlds = [World(name, self.suite, seqs, settings) for name in BOTH]
        self.wire = [b"", b""]

    def both(self, use: Callable[[World], Any]) -> Any:
        """The outcome in both worlds: what is returned, or how it is refused. Texts may differ."""
        outcomes: list[Any] = []
        for world in self.worlds:
            try:
                outcomes.append(use(world))
            except TlsError as error:
                outcomes.append(error.alert)
            except (NotOwner, ValueError) as error:
                outcomes.append(type(error))
        assert outcomes[0] == outcomes[1]
        assert self.worlds[0].seen() == self.worlds[1].seen()
        return outcomes[0]

    def go_on(self) -> None:
        """One step."""
        steps = (
            *(self.seal, self.open) * 4,
            *(self.save, self.restore, self.reload, self.own) * 2,
            *(self.run, self.damage, self.noise, self.update, self.prove),
        )
        self.chance.choice(steps)(self.chance.randrange(2))

    def seal(self, side: int) -> None:
        kind = self.chance.choice((DATA, DATA, DATA, ALERT, HANDSHAKE))
        data = self.chance.randbytes(self.chance.choice(self.sizes))
        sealed = self.both(lambda world: world.layers[side].seal(kind, data))
        if isinstance(sealed, bytes):
            self.wire[1 - side] += sealed

    def run(self, side: int) -> None:
        """Many small records."""
        data = self.chance.choice((b"", b"x"))
        for _ in range(self.chance.choice((20, 40, 70))):
            sealed = self.both(lambda world: world.layers[side].seal(DATA, data))
            self.wire[1 - side] += sealed if isinstance(sealed, bytes) else b""

    def open(self, side: int) -> None:
        whole = self.wire[side]
        buffer = whole[: self.chance.choice((len(whole), self.chance.randint(0, len(whole))))]
        at, kind = 0, CALL_AGAIN
        while kind:
            told = self.both(lambda world, at=at: world.layers[side].open(buffer, at))  # type: ignore[misc]
            if not isinstance(told, tuple):
                at = len(whole)
                break
            at, _, kind, payload = told
            if payload == KEY_UPDATE and self.suite.version == TLS13:
                self.both(lambda world: world.layers[side].update_rx())
        self.wire[side] = whole[at:]

    def damage(self, side: int) -> None:
        if self.wire[side]:
            self.wire[side] = self.damaged(self.wire[side])

    def damaged(self, content: bytes) -> bytes:
        place = self.chance.randrange(len(content))
        return content[:place] + bytes((content[place] ^ 1 << self.chance.randrange(8),)) + content[place + 1 :]

    def noise(self, side: int) -> None:
        noise = self.chance.randbytes(self.chance.randrange(40))
        header = bytes((self.chance.randint(20, 24), 3, 3)) + len(noise).to_bytes(2, "big")
        self.wire[side] += self.chance.choice((noise, header + noise))

    def update(self, side: int) -> None:
        name = self.chance.choice(("update_tx", "update_rx"))
        self.both(lambda world: getattr(world.layers[side], name)())

    def prove(self, side: int) -> None:
        size = 5 + int.from_bytes(self.wire[side][3:5], "big") + self.chance.choice((0, 0, 1))
        record, ours = self.wire[side][:size], self.chance.random() < 0.3
        seq = self.chance.choice((self.worlds[0].layers[side].rx_seq, *NUMBERS))
        self.both(lambda world: world.layers[side].proves(record, ours=ours, seq=seq))

    def save(self, side: int) -> None:
        self.both(lambda world: world.save(side))

    def state(self) -> Callable[[World], bytes]:
        """One of those that were saved, as it is, damaged or cut off; the same damage in both worlds."""
        number = self.chance.randrange(len(self.worlds[0].states))
        size = len(self.worlds[0].states[number])
        place, bit = self.chance.randrange(size), 1 << self.chance.randrange(8)
        how = self.chance.choice(("whole", "whole", "damaged", "cut"))

        def chosen(world: World) -> bytes:
            state = world.states[number]
            if how == "cut":
                return state[:place]
            if how == "damaged":
                return state[:place] + bytes((state[place] ^ bit,)) + state[place + 1 :]
            return state

        return chosen

    def restore(self, side: int) -> None:
        if self.worlds[0].states:
            state = self.state()
            self.both(lambda world: world.restore(side, state(world)))

    def reload(self, side: int) -> None:
        if self.worlds[0].states:
            state = self.state()
            self.both(lambda world: world.layers[side].reload(state(world), world.reading))

    def own(self, side: int) -> None:
        """Gain and lose ownership; or end one side for good, which is rare."""
        change = self.chance.choice(("grant", "grant", "revoke"))
        if self.chance.random() < 0.1:
            self.both(lambda world: world.layers[side].end())
        else:
            self.both(lambda world: getattr(world.permit, change)())


@pytest.mark.parametrize("seed", STORIES)
def test_whatever_is_done_both_implementations_say_the_same(seed: int) -> None:
    story = Story(seed)
    for _ in range(story.chance.randrange(5, 100)):
        story.go_on()
