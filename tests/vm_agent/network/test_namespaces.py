from __future__ import annotations

import asyncio
import threading

import pytest

from vm_agent.network.namespaces import inside

NOBODY = 1 << 22  # pids end before it: proc_sys_kernel(5), pid_max


def test_work_is_done_in_a_thread_of_its_own_also_below_an_event_loop() -> None:
    async def below() -> int:
        return inside(0, threading.get_ident)

    assert asyncio.run(below()) != threading.get_ident()


def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        inside(0, lambda: 1 // 0)


def test_a_process_that_is_gone_has_no_network() -> None:
    with pytest.raises(FileNotFoundError):
        inside(NOBODY, lambda: None)
