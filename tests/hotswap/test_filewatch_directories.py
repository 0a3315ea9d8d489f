"""Everything that comes, goes and changes in a directory, and the word that comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from hotswap import filewatch
from hotswap.filewatch import FileWatch
from tests.hotswap.watching import Told, end


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filewatch, "PAUSE", 0.02)


def inside(directory: Path, changes: list[Callable[[], object]]) -> None:
    """Every change is told of, one after the other."""

    async def play() -> None:
        told = Told()
        one = FileWatch(told, "look again by hand")
        one.follow([], inside=[str(directory)])
        one.start()
        await told.again()
        try:
            for change in changes:
                change()
                await told.again()
        finally:
            end(one)

    asyncio.run(play())


def test_whatever_comes_goes_and_changes_in_a_directory_is_noticed(tmp_path: Path) -> None:
    file, other = tmp_path / "a.yaml", tmp_path / "b.yaml"
    inside(
        tmp_path,
        [
            lambda: file.write_text("one"),
            lambda: file.write_text("two"),
            lambda: file.chmod(0o600),
            lambda: file.rename(other),
            other.unlink,
        ],
    )


def test_directory_that_comes_later_and_is_replaced_is_looked_into(tmp_path: Path) -> None:
    directory = tmp_path / "sidecars"
    inside(
        directory,
        [
            directory.mkdir,
            lambda: (directory / "a.yaml").write_text("one"),
            lambda: directory.rename(tmp_path / "old"),
            directory.mkdir,
            lambda: (directory / "b.yaml").write_text("one"),
        ],
    )
