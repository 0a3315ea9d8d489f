"""What holds for every test: with HOTSWAP_REQUIRE_PEERS=1, as `make test-all` sets it, a skip is a failure.

A test that is skipped has not been seen to pass. Here, where everything is to be shown, whoever lacks a program, a
right or the modules in C is told so instead. Only what no installation can mend, a reason that begins with
KERNEL, stays a skip.

The data plane runs compiled or interpreted (docs/compiled.md), as HOTSWAP_PLANE in the environment says. Two options
are for the Makefile, which runs tests in both modes: ``--plane`` states which one is meant, so that a build that is
missing or stale is an error and no second run of the same; ``--part`` leaves out what has nothing to do with it, or
tells those that need a machine to themselves from the others.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sysconfig
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from proxy import compiled

if TYPE_CHECKING:
    from tests.kit.pod import Pod
    from tests.kit.stage import Stage

KERNEL = "this kernel"

PROTOCOLS = ("amqp", "bolt", "dubbo", "encryption", "health", "http1", "http2", "tls")
LAWS = ("law", "state", "*_snapshot")
STORMS = (
    *("*storm", "access_log", "crew", "dns", "metrics*", "podman*", "reload", "scraping"),
    *("amqp*", "bolt*", "dubbo*", "encryption*", "http2*", "peers"),
)
PARTS = {
    "plane": ("proxy/**/test_*.py",),
    "laws": (
        *(f"proxy/{protocol}/test_{name}.py" for protocol in PROTOCOLS for name in LAWS),
        *(f"proxy/test_{name}.py" for name in ("bugs", "plain_python", "reactor", "rounds", "state", "tcp")),
    ),
    "storms": (
        "bench/test_*.py",
        *(f"system/test_{name}.py" for name in STORMS),
    ),
}
"""What depends on the data plane; what says most about it in a minute: states and laws; and what is best alone.

Storms are about what a client notices, and two of them side by side would notice each other.
"""
CALM = "calm"
"""All that is no storm. Such tests wait most of the time."""

# A shell that starts tests in the background has them ignore this, and so would every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test fails on a timing: the machine may be busy.
settings.register_profile("house", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("brief", settings.get_profile("house"), max_examples=40)  # `make test`
settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--plane", choices=("compiled", "interpreted"), help="how the data plane has to run, or it fails")
    parser.addoption("--part", choices=(*PARTS, CALM), help="only these tests: see PARTS")


def pytest_configure(config: pytest.Config) -> None:
    """Stop if the data plane does not run as it should. Without a compiler it cannot, and tests of C are skipped."""
    wanted = config.getoption("plane") or compiled.MODE
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if wanted == compiled.MODE or (wanted == "compiled" and shutil.which(compiler) is None):
        return
    if wanted == "interpreted":
        raise pytest.UsageError(f"the data plane runs compiled: set {compiled.VARIABLE}=python to test it interpreted")
    asked_for = compiled.VARIABLE in compiled.WHY_INTERPRETED
    remedy = f"unset {compiled.VARIABLE}" if asked_for else ".venv/bin/python setup.py build_ext --inplace"
    raise pytest.UsageError(
        f"the data plane runs interpreted, but was to be tested compiled: {compiled.WHY_INTERPRETED}\n-> {remedy}"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of what is in C nothing is there if all runs interpreted. Meant to be so, it is no lack."""
    if compiled.MODE == "compiled":
        return
    absent = [item for item in items if item.get_closest_marker("in_c") is not None]
    if config.getoption("plane") == "interpreted":
        items[:] = [item for item in items if item.get_closest_marker("in_c") is None]
        config.hook.pytest_deselected(items=absent)
    else:
        for item in absent:
            item.add_marker(pytest.mark.skip(reason="it is in C, and the data plane runs interpreted"))


def pytest_collection_finish() -> None:
    """What seventeen thousand tests are made of need not be searched for garbage again and again."""
    gc.collect()
    gc.freeze()


def pytest_report_header() -> str:
    why = compiled.WHY_INTERPRETED
    return f"data plane: {compiled.MODE}{f' ({why})' if why else ''}"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    part = config.getoption("part")
    if part is None or collection_path.suffix != ".py":
        return None
    of_it = any(collection_path.match(f"tests/{pattern}") for pattern in _patterns("storms" if part == CALM else part))
    return of_it is (part == CALM) or None


def _patterns(part: str) -> Iterator[str]:
    """Before 3.13 ``**`` of `Path.match` is one folder."""
    for pattern in PARTS[part]:
        yield pattern
        yield pattern.replace("**/", "")


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
