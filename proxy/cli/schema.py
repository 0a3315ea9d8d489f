"""`hotswap schema`: the JSON Schema of the configuration."""

from __future__ import annotations

import click
import msgspec

from proxy.config.schema import printed


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it on one line.")
def schema(*, as_json: bool) -> None:
    """Print the JSON Schema of the configuration, for editors and other tools."""
    text = printed()
    click.echo(msgspec.json.format(text, indent=-1) if as_json else text)
