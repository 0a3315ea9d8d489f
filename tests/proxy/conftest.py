"""Playbooks run twice: straight, and with a handover after every step. HOTSWAP_SAVE_RESTORE=0|1 chooses one."""

from __future__ import annotations

import os

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "moving" in metafunc.fixturenames:
        chosen = os.environ.get("HOTSWAP_SAVE_RESTORE")
        values = [False, True] if chosen is None else [chosen == "1"]
        metafunc.parametrize("moving", values, ids=lambda moving: "moving" if moving else "straight")
