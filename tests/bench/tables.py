"""What all tables are made of, for the terminal and for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.upgrade import median_and_worst

SPEAKS = {
    "echo": "TCP relay, 1 KB echo",
    "http": "HTTP/1.1 keep-alive, 1 KB",
    "bolt": "Bolt, 1 KB, 64 connections onto 4, 1 call in flight on each",
    "bolt16": "Bolt, the same, 16 calls in flight on each",
}


def absent(missing: dict[str, str]) -> str:
    """Paragraphs about proxies that could not be measured, or nothing."""
    return "".join(f"\n\n{name} was not installed ({remedy})." for name, remedy in missing.items())


def pair(figures: list[float], digits: int = 1) -> str:
    """Median and worst."""
    return "{:.{digits}f} / {:.{digits}f}".format(*median_and_worst(figures), digits=digits) if figures else "-"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table, aligned so that it reads well in a terminal too."""
    widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(len(titles))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(titles), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)])
