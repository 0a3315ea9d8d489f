"""What the journal has of a unit: asked by journalctl(1), which knows how to read it, bounded in time and size."""

from __future__ import annotations

import asyncio
import contextlib
import re

SECONDS = 3.0
BYTES = 64 * 1024
LINES = 8

_FORM = ("--output=cat", "--no-pager", "--quiet")
_END = re.compile(r"Main process exited, code=(exited|killed|dumped), status=(\d+)")
_EVERY_START = re.compile(r"(Starting|Failed to start) \S+ - ")
_STARTED = re.compile(r"Started \S+ - ")
_ANEW = "Scheduled restart job"


async def failure(unit: str, since: float) -> tuple[str, str]:
    """How a start failed since that time (Unix), and the last lines that it wrote, or systemd about it.

    Both are empty if unknown. What systemd tried after it is left out.
    """
    await _run("journalctl", "--sync")  # what was written just now is not there yet
    text = await _run(*_of(unit), f"--since=@{since:.6f}", "--lines=200")
    lines = first_attempt(text.splitlines())
    return how(lines), "\n".join(f"    {line}" for line in own_words(unit, lines)[-LINES:])


def own_words(unit: str, lines: list[str]) -> list[str]:
    """What the program wrote; if that is nothing, what systemd says of it."""
    own = [line for line in lines if not line.startswith(f"{unit}: ")]
    return own or lines


def how(lines: list[str]) -> str:
    """How a main process ended, or that it was not ready in time; empty if these lines do not tell."""
    text = "\n".join(lines)
    if "start operation timed out" in text:
        return "not ready in time"
    found = _END.findall(text)
    if not found:
        return ""
    code, status = found[-1]
    return f"exit code {status}" if code == "exited" else f"killed by signal {status}"


def first_attempt(lines: list[str]) -> list[str]:
    """Those before systemd starts it again, without what it says of every start."""
    again = next((at for at, line in enumerate(lines) if _ANEW in line), len(lines))
    return [line for line in lines[:again] if not _EVERY_START.match(line)]


async def ending(unit: str) -> str:
    """How the last main process ended that was started anew, for people; ``died`` if the journal does not know."""
    own = ["journalctl", f"UNIT={unit}", "_PID=1", *_FORM]  # what systemd says, however much the program does
    return how_last((await _run(*own, "--lines=200")).splitlines())


def how_last(lines: list[str]) -> str:
    """The same, of these lines. Of exit code 0 systemd says nothing: a life that ends without a word ended so.

    A life goes from ``Started`` to the restart that was scheduled after it.
    """
    anew = [at for at, line in enumerate(lines) if _ANEW in line]
    if not anew:
        return how(lines) or "died"
    began = max((at for at, line in enumerate(lines[: anew[-1]]) if _ANEW in line or _STARTED.match(line)), default=-1)
    return how(lines[began + 1 : anew[-1]]) or ("exit code 0" if began >= 0 else "died")


def _of(unit: str) -> list[str]:
    return ["journalctl", "--unit", unit, *_FORM]


async def _run(*argv: str) -> str:
    """What a program prints; empty if that takes too long, or there is no such program."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return ""
    data = b""
    try:
        async with asyncio.timeout(SECONDS):
            assert process.stdout is not None  # noqa: S101  it is a pipe
            while piece := await process.stdout.read(BYTES):
                data = (data + piece)[-BYTES:]
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    text = data.decode("utf-8", "replace")
    return "\n".join("".join(one for one in line if one.isprintable()) for line in text.splitlines())
