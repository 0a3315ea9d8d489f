"""What holds for every test: with HOTSWAP_REQUIRE_PEERS=1, as `make test-all` sets it, a skip is a failure.

A test that is skipped has not been seen to pass. Here, where everything is to be shown, whoever lacks a program, a
right or the modules in C is told so instead. Only what no installation can mend, a reason that begins with
KERNEL, stays a skip.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.kit.pod import Pod
    from tests.kit.stage import Stage

KERNEL = "this kernel"

# A shell that starts tests in the background has them ignore this, and so would every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test fails on a timing: the machine may be busy.
settings.register_profile("house", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("HOTSWAP_REQUIRE_PEERS") == "1" and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(KERNEL):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}: {reason}, and HOTSWAP_REQUIRE_PEERS=1 asks for everything"
    return report


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Upstreams, proxies and clients of one test."""
    from tests.kit.stage import Stage  # most tests need none of it

    made = Stage()
    try:
        yield made
        made.show()
    finally:
        made.close()


@pytest.fixture
def pod() -> Iterator[Pod]:
    """A pod without images, for one test."""
    from tests.kit.unshared import Unshared

    with Unshared() as made:
        yield made
        made.show()
