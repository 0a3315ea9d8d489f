"""Values too large for a message: sealed memfds, and what a stranger may send in their place."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotswap.errors import ProtocolError
from hotswap.handover import wire
from hotswap.handover.channel import from_memfd, to_memfd


@given(st.binary(max_size=300_000))
def test_a_value_in_a_memfd_comes_back(state: bytes) -> None:
    assert from_memfd(to_memfd(state)) == state


def test_a_value_in_a_memfd_cannot_be_changed_any_more() -> None:
    fd = to_memfd(b"state")
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"X", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)
    os.close(fd)


def _unsealed() -> int:
    return os.memfd_create("test")


def _half_sealed() -> int:
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    return fd


def _huge() -> int:
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, wire.MAX_VALUE + 1)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def _no_memfd() -> int:
    return os.open(Path(__file__), os.O_RDONLY)


def _pipe() -> int:
    read_end, write_end = os.pipe()
    os.close(write_end)
    return read_end


@pytest.mark.parametrize("make", [_unsealed, _half_sealed, _huge, _no_memfd, _pipe])
def test_a_memfd_of_a_stranger_is_read_only_if_it_is_sealed_and_bounded(make: Callable[[], int]) -> None:
    with pytest.raises(ProtocolError):
        from_memfd(make())
