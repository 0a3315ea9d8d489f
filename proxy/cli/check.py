"""`hotswap check`: is this configuration usable? Like ``nginx -t``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from hotswap.settings.problems import InvalidConfig, Problem
from proxy.cli.options import config_option
from proxy.config.loader import Loaded, load_with_warnings
from proxy.config.tls_files import TlsFiles
from proxy.kernel import Kernel
from proxy.plumbing import forbidden
from proxy.tls.secrecy import protect


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(path: Path, *, as_json: bool) -> None:
    """Check a configuration without applying it: every error with its line, key and remedy.

    Exit code 0 if it can be used (also with warnings), 3 if not. Binds nothing and connects to nothing.
    """
    loaded: Loaded | None = None
    errors: tuple[Problem, ...] = ()
    try:
        loaded = load_with_warnings(path, forbidden, files=TlsFiles(Kernel.wall, protect))
    except InvalidConfig as invalid:
        errors = invalid.problems
    if as_json:
        click.echo(msgspec.json.encode(_report(str(path), loaded, errors)))
    else:
        _tell(str(path), loaded, errors)
    sys.exit(InvalidConfig.exit_code if errors else 0)


def _report(path: str, loaded: Loaded | None, errors: tuple[Problem, ...]) -> dict[str, Any]:
    report: dict[str, Any] = {
        "file": path,
        "ok": not errors,
        "errors": [error._asdict() for error in errors],
        "warnings": [warning._asdict() for warning in loaded.warnings] if loaded else [],
    }
    if loaded:
        config = loaded.config
        report |= {
            "name": config.name,
            "config_id": config.id,
            "listeners": len(config.listeners),
            "clusters": len(config.clusters),
        }
    return report


def _tell(path: str, loaded: Loaded | None, errors: tuple[Problem, ...]) -> None:
    for error in errors:
        click.echo(error.at(path), err=True)
    if loaded is None:
        click.echo(f"{path}: {_count(len(errors), 'error')}", err=True)
        return
    for warning in loaded.warnings:
        click.echo(warning._replace(text=f"warning: {warning.text}").at(path), err=True)
    config = loaded.config
    click.echo(f"{path}: ok: {_count(len(config.listeners), 'listener')}, {_count(len(config.clusters), 'cluster')}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
