"""`hotswap schema`: the JSON Schema of the configuration."""

from __future__ import annotations

import click

from proxy.config.schema import printed


@click.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors and other tools."""
    click.echo(printed())
