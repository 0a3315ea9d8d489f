"""The demo does what its last line says, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.kit.companion import ROOT


@pytest.mark.all
def test_the_demo_loses_nothing() -> None:
    demo = subprocess.run(
        [sys.executable, "examples/demo.py", "--upgrades", "1"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "0 failed" in demo.stdout
    assert "0 closed" in demo.stdout
    assert demo.stdout.endswith("Nothing was lost.\n")
    assert demo.stderr == ""
