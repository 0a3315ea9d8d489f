"""`hotswap-agent inspect`: a patrol right now."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from hotswap.cli.output import block, count, plain, print_json
from vm_agent.cli.options import Where, agent_option, json_option

PATROL_SECONDS = 120.0
COLOURS = {"error": "red", "warning": "yellow", "notice": "cyan"}


@click.command()
@json_option
@agent_option
def inspect(where: Where, *, as_json: bool) -> None:
    """Look for what is not as it should be, and how to mend it.

    The worst comes first. Changes nothing. Exit code 0 unless a finding is an error: clients are refused, or will be at
    the next crash.
    """
    client = where.client()
    client.timeout = PATROL_SECONDS
    answer = client.get("/inspect")
    findings = answer.get("findings") or []
    if as_json:
        print_json(answer)
    else:
        for finding in findings:
            _print(finding)
        click.echo(count(len(findings), "finding") if findings else "all is as it should be")
    sys.exit(1 if any(finding.get("severity") == "error" for finding in findings) else 0)


def _print(finding: Mapping[str, Any]) -> None:
    severity = plain(finding.get("severity"))
    level = click.style(f"{severity:<8}", fg=COLOURS.get(severity))  # click drops colours elsewhere
    click.echo(f"{level} {plain(finding.get('sidecar') or 'agent')}: {block(finding.get('text'), 9)}")
    if finding.get("remedy"):
        click.echo(f"{' ' * 9}-> {block(finding['remedy'], 12)}")
