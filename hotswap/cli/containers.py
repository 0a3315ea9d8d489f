"""The options of a program that runs in a container: what an orchestrator tells it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar

import click

from hotswap import idling
from hotswap.cli.options import Duration
from hotswap.container import (
    REVISION_VARIABLES,
    AfterHandover,
    Container,
    IfBusy,
    RestartPolicy,
    decided,
    is_empty,
)

F = TypeVar("F", bound=Callable[..., Any])

MARGIN_SECONDS: Final = 2.0
"""Between the end of a drain and SIGKILL."""

OPTIONS: Final = (
    click.option(
        "--if-busy",
        type=click.Choice(["exit", "wait"]),
        default="exit",
        show_default=True,
        help="While another one takes over, or the one that serves drains.",
    ),
    click.option(
        "--after-handover",
        type=click.Choice(["exit", "idle"]),
        help="With everything given away, or nothing newer to bring: exit, or stand by, idle.  "
        "[default: exit; idle under the restart policy Always]",
    ),
    click.option(
        "--restart-policy",
        type=click.Choice(["Always", "OnFailure", "Never"]),
        envvar="HOTSWAP_RESTART_POLICY",
        show_envvar=True,
        help="That of the container.  [default: Always in Kubernetes, else none]",
    ),
    click.option(
        "--revision",
        type=click.IntRange(0, 2**63 - 1),
        envvar=REVISION_VARIABLES,
        show_envvar=True,
        help="The orchestrator's count of versions: a higher one takes over, a lower one does not, 0 never serves.",
    ),
    click.option(
        "--grace-period",
        type=Duration(),
        envvar="HOTSWAP_GRACE_PERIOD",
        show_envvar=True,
        help="What there is between SIGTERM and SIGKILL: a drain is over before.",
    ),
)


def container_options(command: F) -> F:
    """They arrive as the arguments `container` and `grace_period`. In an empty container nothing arrives."""

    @wraps(command)
    def wrapped(
        *,
        if_busy: IfBusy,
        after_handover: AfterHandover | None,
        restart_policy: RestartPolicy | None,
        revision: int | None,
        **others: Any,
    ) -> Any:
        if is_empty(revision, os.environ):
            idling.become(None, None)
        container = Container(
            -1 if revision is None else revision, if_busy, decided(after_handover, restart_policy, os.environ)
        )
        return command(container=container, **others)

    for option in reversed(OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]  # click's decorators keep what they are given
