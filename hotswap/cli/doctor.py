"""`hotswap doctor`: look for what would get in the way, and say what to do about it."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from hotswap.cli.checks import CHECKS, REMEDIES, Finding, others, runtime
from hotswap.cli.options import json_option, runtime_dir_option
from hotswap.cli.output import plain, print_json

COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}


@click.command()
@click.option("--fix", is_flag=True, help="First do what can be done without a risk: remove what nobody uses.")
@json_option
@runtime_dir_option
def doctor(runtime_dir: Path, *, fix: bool, as_json: bool) -> None:
    """Check the system, the installation and the runtime directory. Changes nothing, unless told to --fix.

    Exit code 0 unless there is a problem.
    """
    done = [*others(REMEDIES)] if fix else []
    findings = [finding for check in (*CHECKS, others) for finding in check()]
    findings.extend(runtime(runtime_dir))
    problems = sum(finding.level == "problem" for finding in (*done, *findings))
    if as_json:
        report = {"ok": not problems, "findings": [msgspec.structs.asdict(finding) for finding in findings]}
        print_json(report | {"done": [msgspec.structs.asdict(one) for one in done]} if fix else report)
    else:
        for one in done:
            _print(one)
        for finding in findings:
            _print(finding)
        click.echo(f"{problems} {'problem' if problems == 1 else 'problems'} found" if problems else "no problem found")
    sys.exit(1 if problems else 0)


def _print(finding: Finding) -> None:
    level = click.style(f"{finding.level:<8}", fg=COLOURS[finding.level])  # click drops colours elsewhere
    click.echo(f"{level} {finding.check}: {plain(finding.message)}")
    if finding.remedy:
        click.echo(f"{' ' * 9}-> {plain(finding.remedy)}")
