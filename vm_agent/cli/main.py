"""`hotswap-agent`: the daemon, and what is asked of it."""

from __future__ import annotations

import click


@click.group()
def main() -> None:
    """Look after the sidecars of this machine."""
