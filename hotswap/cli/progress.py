"""What a person sees of an upgrade: a line that follows it on a terminal, plain lines elsewhere, and the last word."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from typing import Any

import click

from hotswap import errors
from hotswap.cli import baking
from hotswap.cli.output import count, plain, span

ERASE_LINE = "\r\x1b[K"

ADVICE: dict[int, str] = {
    errors.UsageError.exit_code: "nothing was started",
    errors.ConfigError.exit_code: "mend the configuration ('hotswap check -c FILE' tries it alone), then upgrade again",
    errors.NotRunning.exit_code: "start it with 'hotswap run -c FILE'",
    errors.OwnerHung.exit_code: "see 'hotswap doctor'; a stopped process goes on after 'kill -CONT PID'",
    errors.PermissionDenied.exit_code: "run this as the user that runs the server, or as root",
    errors.BindFailed.exit_code: "free the address or take it out of the configuration, then upgrade again",
    errors.AttemptFailed.exit_code: "nothing was lost; the log of the server tells more",
    errors.Refused.exit_code: "nothing was touched; the two versions, or what the server is doing, do not allow this",
    errors.Draining.exit_code: "wait for its end, then start it again",
    errors.Busy.exit_code: "'hotswap status NAME' shows it",
    errors.Superseded.exit_code: "to go back on purpose use 'hotswap rollback NAME', or run it with --takeover=require",
    errors.DestinationFailed.exit_code: "nothing was lost: mend that, then upgrade again",
    errors.DeadlinePassed.exit_code: "nothing was lost; the log tells what it waited for",
    errors.LeftBehind.exit_code: "without --require-all these drain at the old generation",
    errors.SourceHung.exit_code: "see 'hotswap doctor'; 'kill -CONT PID' wakes a stopped process, else kill it",
    errors.ConnectionsLost.exit_code: "clients have to reconnect; see 'hotswap status NAME' and the log for who died",
    errors.RolledBack.exit_code: "the version before has every connection back; 'hotswap history NAME' tells why",
    errors.ProtocolError.exit_code: "nothing was lost; the two versions do not understand each other: please report it",
}


class Line:
    """Standard error as a person likes it: one line that changes on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._shown = ""

    def show(self, text: str) -> None:
        """The latest."""
        if self._live:
            click.echo(f"{ERASE_LINE}{text[: shutil.get_terminal_size().columns - 1]}", err=True, nl=False)
        elif text != self._shown:
            click.echo(text, err=True)
        self._shown = text

    def clear(self) -> None:
        """Leave a clean line behind."""
        if self._live:
            click.echo(ERASE_LINE, err=True, nl=False)


class Progress:
    """Shows the events of an attempt on standard error, as they come."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._line = Line()

    def show(self, event: Mapping[str, Any]) -> None:
        """One event; the result is not ours to show."""
        if event.get("event") == "result":
            self.clear()
            return
        self._line.show(f"{self._name}: {described(event)}")

    def clear(self) -> None:
        """Leave a clean line behind."""
        self._line.clear()


def described(event: Mapping[str, Any]) -> str:
    """One event in words; one that this version does not know, as it is."""
    kind = str(event.get("event", "?"))
    if kind == "spawned":
        return f"started the new generation, pid {event.get('pid')}"
    if kind == "round" and "number" in event:
        return (
            f"round {event['number']}: {count(event.get('copied'), 'connection')} copied, {event.get('left') or 0} left"
        )
    if kind == "connected":
        version, there = plain(event.get("version")), count(event.get("connections"), "connection")
        return f"the new generation is there, version {version}; {there} to copy"
    if kind == "waiting":
        return f"waiting up to {span(event.get('timeout') or 0.0)} for a new generation that somebody else starts"
    if kind == "summoned":
        who = f"generation {event['generation']}" if event.get("generation") else "a container"  # 0: it has not served
        return f"told {who}, which stands by, to take over"
    if kind == "freezing":
        return "freezing for the last pass"
    if kind == "owned":
        return "the new generation owns"
    if kind == "baking":
        return baking.described(event)
    rest = " ".join(f"{key}={plain(value)}" for key, value in event.items() if key != "event")
    return f"{kind} {rest}".rstrip()


def verdict(name: str, result: Mapping[str, Any], *, before: int | None, dry_run: bool) -> str:
    """The one line a person can trust about an attempt that went well."""
    generation = result.get("generation")
    moved = ", ".join(
        (
            count(result.get("listeners"), "listener"),
            count(result.get("connections"), "connection"),
            f"{count(result.get('in_flight'), 'request')} in flight",
        )
    )
    downtime = result.get("downtime_ms")
    stall = f"; downtime {downtime:.1f} ms" if isinstance(downtime, int | float) else ""
    if dry_run:
        serves = "" if before is None else f"; generation {before} serves on"
        return f"{name}: dry run went well: the new generation could take over {moved}; {_left_behind(result)}{serves}"
    if "listeners" not in result:
        return f"{name}: generation {generation} owns; how much moved is unknown, since the connection broke meanwhile"
    baked = f"; its bake {plain(result['baked'])}" if result.get("baked") else ""
    late = _stragglers(result)
    return f"{name}: generation {generation} owns: {moved} moved{stall}{late}; {_left_behind(result)}{baked}"


def _stragglers(result: Mapping[str, Any]) -> str:
    """Handshakes that were under way: how many followed, and how many ended by themselves."""
    announced, followed = result.get("stragglers") or 0, result.get("followed") or 0
    if not announced:
        return ""
    ended = f", {announced - followed} ended before" if announced > followed else ""
    return f"; {count(followed, 'handshake')} followed{ended}"


def complaint(name: str, result: Mapping[str, Any]) -> str:
    """What went wrong, a line for each thing if there are several, and what to do about it."""
    lines = str(result.get("message") or "the attempt failed").splitlines()
    message = "\n".join(plain(line) for line in lines).rstrip(".")
    advice = ADVICE.get(result.get("exit_code", 0), "the log of the server tells more").replace("NAME", name)
    message = message if message.startswith(f"{name}:") else f"{name}: {message}"
    return f"{message}; {advice}"


def _left_behind(result: Mapping[str, Any]) -> str:
    kept = [entry for entry in result.get("kept") or () if entry.get("count")]
    if not kept:
        return "nothing left behind"
    total = sum(entry["count"] for entry in kept)
    reasons = ", ".join(f"{entry['count']} {plain(entry.get('reason', ''))}".rstrip() for entry in kept)
    stay = "stays" if total == 1 else "stay"
    return f"{count(total, 'connection')} {stay} with the old generation until they end: {reasons}"
