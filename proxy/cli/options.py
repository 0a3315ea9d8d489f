"""Options that the proxy's commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def config_option(command: F) -> F:
    """``-c FILE``, as the argument `path`. Whether it can be read is for the loader to say, with its exit code."""
    return click.option(
        "-c",
        "--config",
        "path",
        type=click.Path(path_type=Path),
        required=True,
        metavar="FILE",
        help="The configuration.",
    )(command)
