"""The shared memory that killed generations leave behind."""

from __future__ import annotations

from pathlib import Path

from shm_metrics import names
from shm_metrics.names import segment_name


def remove_segments(name: str, runtime_dir: Path) -> None:
    """Those of a proxy whose processes have all ended."""
    for found in segments(name, runtime_dir):
        (names.FOLDER / found).unlink(missing_ok=True)


def segments(name: str, runtime_dir: Path) -> list[str]:
    """The names of those that are there, whatever they are worth."""
    begin = f"{names.PREFIX}{segment_name(name, runtime_dir)}."
    return sorted(one.name for one in names.FOLDER.iterdir() if one.name.startswith(begin))
