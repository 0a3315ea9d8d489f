"""What is not in a buffer is not read in C either, whoever asks for it: a codec may be anybody's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from proxy.bolt.runs import BoltCalls
from proxy.bolt.runs import Sight as BoltSight
from proxy.dubbo.runs import DubboCalls
from proxy.dubbo.runs import Sight as DubboSight
from proxy.multiplexed.pieces import Pieces

NOBODY: Any = None
ASKED: dict[str, Callable[[Any, int], object]] = {
    "rest": lambda buffer, at: Pieces().rest(buffer, at),
    "joined to": lambda buffer, at: Pieces().joined(b"out", buffer, 0, at),
    "joined from": lambda buffer, at: Pieces().joined(b"", buffer, at, 0),
    "bolt call": lambda buffer, at: BoltSight().call(buffer, at),
    "bolt answer": lambda buffer, at: BoltSight().answer(buffer, at, 1),
    "bolt calls": lambda buffer, at: BoltCalls().pass_on(buffer, at, 0, NOBODY, "", 0.0, 1.0),
    "bolt answers": lambda buffer, at: BoltCalls().give_back(buffer, at, 1, 0.0, print),
    "dubbo call": lambda buffer, at: DubboSight().call(buffer, at, 1000),
    "dubbo answer": lambda buffer, at: DubboSight().answer(buffer, at, 1000),
    "dubbo calls": lambda buffer, at: DubboCalls().pass_on(buffer, at, 0, 1000, NOBODY, "", 0.0, 1.0),
    "dubbo answers": lambda buffer, at: DubboCalls().give_back(buffer, at, 1000, 0.0, print),
}


@pytest.mark.in_c
@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize(
    ("buffer", "at"), [(None, 0), (bytearray(b"\1" * 40), 41), (bytearray(), 1), (bytearray(9), -1)]
)
def test_nothing_is_read_beside_a_buffer(asked: str, buffer: bytearray | None, at: int) -> None:
    with pytest.raises((IndexError, TypeError)):
        ASKED[asked](buffer, at)
