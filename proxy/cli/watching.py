"""Looking at the metrics of a name, once or for ever: what `hotswap metrics` and `hotswap top` have in common."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Final, Self

import click

from hotswap.cli.output import plain
from hotswap.errors import HotswapError
from shm_metrics.exposition import CONTENT_TYPES
from shm_metrics.plain import parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import TypeVar

    from hotswap.control_client import ControlClient
    from shm_metrics import Collected

    T = TypeVar("T")

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""A screen of its own without a cursor, and back to the one before (xterm's control sequences)."""
HOME, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
SHORTEST: Final = 0.1
"""Seconds between two looks at least."""


def look(client: ControlClient) -> list[Collected]:
    """All that the name counts now. Raises `HotswapError`."""
    try:
        return parsed(client.fetch("/metrics", CONTENT_TYPES["json"]))
    except ValueError as error:
        raise HotswapError(f"{client.name}: {error}; does another version serve it?") from None


def looks(once: Callable[[], T], interval: float) -> Iterator[tuple[float, T]]:
    """Look every `interval` seconds, for ever: the moment (monotonic seconds), and what `once` returned.

    The first look must succeed, and raises what `once` does. Who does not answer later is asked again, for it may be
    replaced right now, or come back; people are told once.
    """
    found: T | None = once()
    silent = False
    while True:
        if found is not None:
            yield time.monotonic(), found
        time.sleep(max(interval, SHORTEST))
        try:
            found = once()
        except HotswapError as error:
            found = None
            if not silent:
                click.echo(f"hotswap: no answer, trying again: {plain(str(error))}", err=True)
        silent = found is None


class Screen:
    """The terminal, line over line, for a screen that is cleared first flickers; elsewhere picture after picture."""

    def __init__(self, heading: str = "", advice: str = "") -> None:
        """On a terminal: what stands above each picture, and what to do about lines that do not fit."""
        self._live = sys.stdout.isatty()
        self._heading = [heading, ""] if heading else []
        self._advice = advice

    def __enter__(self) -> Self:
        if self._live:
            click.echo(ENTER, nl=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            click.echo(LEAVE, nl=False)

    def show(self, lines: list[str]) -> None:
        """This picture, as far as it fits."""
        if not self._live:
            click.echo("\n".join([*lines, ""]))
            return
        lines = [*self._heading, *lines]
        size = shutil.get_terminal_size()
        height = size.lines - 1
        if len(lines) > height:
            lines = [*lines[: height - 1], f"... {len(lines) - height + 1} more{self._advice}"]
        text = "".join(f"{line[: size.columns]}{REST_OF_LINE}\n" for line in lines)
        click.echo(f"{HOME}{text}{REST_OF_SCREEN}", nl=False)
