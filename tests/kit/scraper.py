"""A scraper as strict as can be: every scrape succeeds, nothing that counts is ever lower or gone.

It asks again and again over a fresh connection each, as a monitoring system would, and keeps what it saw last. Its own
reader of the text format knows just what it needs; `prometheus_client`'s parsers read the format in tests/shm_metrics.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Self

from tests.kit.background import Background
from tests.kit.waiting import eventually

Values = dict[str, float]
COUNTING = frozenset({"counter", "histogram"})
PROCESS = "process_"  # of one process each, gone with it


def read(text: str) -> tuple[Values, Values]:
    """What may only grow, and everything else, by series."""
    growing: Values = {}
    other: Values = {}
    kind = ""
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            kind = line.rsplit(" ", 1)[1]
        elif line and not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            counts = kind in COUNTING and not series.startswith(PROCESS)
            (growing if counts else other)[series] = float(value)
    return growing, other


def ask(address: str, path: str = "/metrics", within: float = 10.0) -> str:
    """One scrape of an admin address. Raises `AssertionError` unless it succeeds."""
    connection = http.client.HTTPConnection(address, timeout=within)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
        assert answer.status == 200, f"{answer.status}: {body}"
        return body
    finally:
        connection.close()


class Scraper(Background):
    """Scrapes every `interval` seconds in a thread, from entering until leaving. `problems` is to be empty."""

    def __init__(self, address: str, interval: float = 0.1, *, forgiving: bool = False) -> None:
        """`forgiving`: somebody may be away, as after a crash; what was counted is not forgiven."""
        super().__init__()
        self.address = address
        self.interval = interval
        self.problems: list[str] = []
        self.scrapes = 0
        self.missed = 0
        self.growing: Values = {}
        self.other: Values = {}
        self.checks: list[Callable[[Values], str]] = []
        """Called with what grows, after each scrape; what they return is a problem."""
        self._forgiving = forgiving

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series of that name with these labels, in the last scrape."""
        return total(self.growing, name, **labels)

    def once(self) -> None:
        """One scrape, held against the one before."""
        try:
            growing, other = read(ask(self.address))
        except (OSError, http.client.HTTPException, AssertionError) as error:
            self.missed += 1
            if not self._forgiving:
                self.problems.append(f"scrape {self.scrapes}: {error!r}")
            return
        self.scrapes += 1
        for series, value in self.growing.items():
            now = growing.get(series)
            if now is None:
                self.problems.append(f"scrape {self.scrapes}: {series} is gone, and was {value}")
            elif now < value:
                self.problems.append(f"scrape {self.scrapes}: {series} fell from {value} to {now}")
        self.growing, self.other = growing, other
        self.problems += [found for found in (check(growing) for check in self.checks) if found]

    def run(self) -> None:
        """See `Background`."""
        while not self.over.wait(self.interval):
            self.once()

    def __enter__(self) -> Self:
        self.once()
        return super().__enter__()

    def wait(self, count: int, *, within: float = 20) -> None:
        """Until that many more scrapes are done."""
        until = self.scrapes + count
        eventually(lambda: self.scrapes >= until, within=within, what=f"{count} more scrapes")


def total(values: Values, name: str, **labels: str) -> float:
    """The sum over all series of that name with these labels."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(
        value
        for series, value in values.items()
        if series.partition("{")[0] == name and all(one in series for one in wanted)
    )
