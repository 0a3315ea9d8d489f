"""Checks of what a cluster says of brokers of AMQP. See `checks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.tls.files import exposed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hotswap.settings.problems import Problems
    from hotswap.settings.reader import Part


def _brokers(clusters: list[Part]) -> Iterator[Part]:
    for cluster in clusters:
        broker: Part | None = cluster.value("broker")
        if broker is not None:
            yield broker


def check_brokers(clusters: list[Part], problems: Problems) -> None:
    """Nobody moves without a login."""
    for broker in _brokers(clusters):
        moves = broker.value("when_gone") == "move"
        for key in ("username", "password_file"):
            if moves and key not in broker.fields:
                problems.error(
                    *broker.place("when_gone"), f"{key} is missing; add it: whoever moves has to log in at the next"
                )
            elif not moves and key in broker.fields:
                problems.warn(*broker.place(key), f"the {key} is not used; write when_gone: move")


def check_passwords(clusters: list[Part], base: Path, problems: Problems) -> None:
    """Files that are not there, or that others can read. One that comes later will do, so it is no error."""
    for broker in _brokers(clusters):
        name = broker.value("password_file")
        if name is None:
            continue
        path = base / name
        danger = exposed(str(path))
        if not path.is_file():
            problems.warn(*broker.place("password_file"), f"{path} is not there; until it is, no connection moves")
        elif danger:
            problems.warn(*broker.place("password_file"), danger)
