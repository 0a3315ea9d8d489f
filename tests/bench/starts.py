"""The tables about starts, see start.py."""

from __future__ import annotations

from tests.bench import start
from tests.bench.tables import absent, table
from tests.bench.upgrade import median_and_worst

START_TEXT = """\
Milliseconds from exec to the first answer over HTTP/1.1, median / worst of {starts} cold starts in turn, and at best;
CPU is the median of the whole process until then. Files are in the page cache, Python has its bytecode. hotswap has a
listener of tcp and one of HTTP/1.1."""

IMPORTS_TEXT = """\
Nearly all of it is imports. `python -X importtime` on a start, until it serves: milliseconds that modules take by
themselves, by package, and their number, in the least disturbed of five. Looking takes a tenth on top. What only other
configurations need is imported right after that, a piece at a time."""

COMMANDS_TEXT = """\
Commands from exec to their end, in milliseconds, median / worst of {runs} runs. That of an upgrade is for a proxy
without load, and has the start of the next generation in it, which imports everything before the first connection
comes."""


def text(result: start.Result) -> str:
    """What the tables mean."""
    return START_TEXT.format(starts=len(result.rows[0].wall))


def body(result: start.Result) -> str:
    """The tables."""
    rows = []
    for row in result.rows:
        wall = [seconds * 1000 for seconds in row.wall]
        cpu, _ = median_and_worst([seconds * 1000 for seconds in row.cpu])
        middle, worst = median_and_worst(wall)
        what = "TLS" if row.tls else "plain"
        figures = [f"{min(wall):.0f}", f"{middle:.0f} / {worst:.0f}", f"{cpu:.0f}"]
        rows.append([what, f"{row.name} {row.version}", *figures])
    imports = [
        ["TLS" if one.tls else "plain", name, f"{modules}", f"{milliseconds:.1f}" if milliseconds else ""]
        for one in result.imports
        for name, modules, milliseconds in [("all", one.modules, one.total), *one.packages, ("later", one.later, 0.0)]
        if modules
    ]
    commands = [
        [one.name, "{:.0f} / {:.0f}".format(*median_and_worst([x * 1000 for x in one.wall]))] for one in result.commands
    ]
    return "\n\n".join(
        [
            table(["", "proxy", "at best", "first answer", "CPU"], rows) + absent(result.missing),
            IMPORTS_TEXT,
            table(["", "package", "modules", "ms"], imports),
            COMMANDS_TEXT.format(runs=len(result.commands[0].wall)),
            table(["command", "ms"], commands),
        ]
    )
