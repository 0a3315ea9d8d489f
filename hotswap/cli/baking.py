"""What is said of a bake on the command line: its conditions, and how it goes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import click

from hotswap.chain import Bake
from hotswap.cli.output import plain, span

DEFAULT_CONDITIONS = ("error_rate=5%", "crashes=1")


def bake_of(seconds: float | None, conditions: tuple[str, ...], min_requests: int) -> Bake | None:
    """What ``--bake`` and ``--abort-if`` mean together. Raises `click.UsageError`."""
    if seconds is None:
        if conditions:
            raise click.UsageError("--abort-if says what ends a --bake before its time: give that as well")
        return None
    found: dict[str, Any] = {}
    for condition in conditions or DEFAULT_CONDITIONS:
        name, _, value = condition.partition("=")
        if name == "error_rate" and re.fullmatch(r"\d+(\.\d+)?%", value) and float(value[:-1]) < 100:
            found[name] = float(value[:-1]) / 100
        elif name == "crashes" and re.fullmatch(r"[1-9]\d{0,5}", value):
            found[name] = int(value)
        else:
            raise click.UsageError(f"--abort-if {condition}: write error_rate=1% or crashes=1")
    return Bake(seconds=seconds, min_requests=min_requests, **found)


def described(event: Mapping[str, Any]) -> str:
    """How the bake goes, in words."""
    if event.get("condemned"):
        return f"taking generation {event.get('generation')} back: {plain(event['condemned'])}"
    rate, left = event.get("error_rate") or 0.0, event.get("left_s") or 0.0
    return (
        f"baking for another {span(left)}: {event.get('failed')} of {event.get('requests')} requests failed "
        f"({rate:.2%}), {event.get('crashes')} crashes"
    )
