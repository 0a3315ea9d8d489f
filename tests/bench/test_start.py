"""That starts are measured to the first answer, and imports counted as Python tells them."""

from __future__ import annotations

import pytest

from tests.bench import start
from tests.bench.machine import describe
from tests.bench.page import Measured, section

LOG = """\
import time: self [us] | cumulative | imported package
import time:       200 |        200 |   yaml.error
import time:      1000 |       1200 | yaml
import time:       300 |        300 | proxy.tcp
12:00:00.000 INFO    bench#1 serving  how=cold pid=1
import time:      9000 |       9000 | OpenSSL
"""


def test_imports_are_counted_by_package_until_it_serves() -> None:
    found = start.counted(LOG, tls=False)
    assert found == start.Imports(False, 3, 1.5, 1, [("yaml", 2, 1.2), ("proxy", 1, 0.3)])


@pytest.mark.all
def test_every_program_answers_after_its_start() -> None:
    result = start.measure(start.Plan(starts=1, upgrades=1), lambda _: None)
    ours = [row for row in result.rows if row.name == "hotswap"]
    assert [row.tls for row in ours] == [False, True]
    assert all(row.wall[0] > 0 and row.cpu[0] > 0 for row in result.rows)
    plain, tls = result.imports
    assert plain.later > tls.later > 0
    assert "cryptography" in {name for name, _, _ in tls.packages}
    shown = section(Measured(describe(), result))
    assert "| TLS   | hotswap " in shown
    assert "| hotswap upgrade |" in shown
