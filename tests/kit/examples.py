"""Examples that show something, run as a stranger would."""

from __future__ import annotations

import subprocess
import sys

from tests.kit.companion import ROOT

PATIENCE = 100.0


def demonstrate(*command: str) -> str:
    """Run a program of the checkout that ends by itself; what it said. It must exit with 0 and complain of nothing."""
    demo = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert demo.stderr == ""
    return demo.stdout
