from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hotswap import place


def elsewhere(*namespaces: str) -> str:
    program = "from hotswap.place import here; print(here())"
    command = [*namespaces, sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_program_that_is_started_here_is_in_the_same_place() -> None:
    assert re.fullmatch(r"mnt:\[\d+\]", place.here())
    assert elsewhere() == place.here()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces")
def test_another_container_is_another_place() -> None:
    assert elsewhere("unshare", "--mount", "--pid", "--fork", "--mount-proc") not in {"", place.here()}


def test_the_lock_is_signed_by_its_owner_and_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert place.signed(path) == ""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x" * 64)
    place.sign(fd)
    assert place.signed(path) == place.here()
    os.close(fd)


def test_a_probe_does_not_wait_for_what_somebody_put_in_its_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    assert place.signed(tmp_path / "lock") == ""


def test_a_full_volume_is_no_reason_to_fail() -> None:
    fd = os.open("/dev/full", os.O_RDWR)
    try:
        place.sign(fd)
    finally:
        os.close(fd)
