from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from vm_agent.files import write_whole


def test_content_and_mode_are_as_asked_whatever_was_there(tmp_path: Path) -> None:
    file = tmp_path / "spec"
    file.write_text("something longer, of somebody else")
    file.chmod(0o600)
    write_whole(file, b"short", 0o640)
    assert file.read_bytes() == b"short"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [*tmp_path.iterdir()] == [file]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "spec"
    file.write_text("before")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, b"after")
    assert file.read_text() == "before"
    assert [*tmp_path.iterdir()] == [file]


def test_a_link_that_lies_in_the_way_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("of somebody else")
    (tmp_path / ".spec.new").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        write_whole(tmp_path / "spec", b"content")
    assert victim.read_text() == "of somebody else"
