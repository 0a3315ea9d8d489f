from __future__ import annotations

import asyncio
import gc
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy import later, ondemand
from proxy.later import Later

NAMES = ("acme_one", "acme_two", "acme_three")


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Modules that nobody imported yet, in the directory that is returned."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("import gc\ncollecting = gc.isenabled()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(later, "AFTER", 0.0)
    monkeypatch.setattr(later, "PAUSE", 0.0)
    yield tmp_path
    for name in NAMES:
        sys.modules.pop(name, None)
    gc.unfreeze()


def imported() -> list[str]:
    return [name for name in NAMES if name in sys.modules]


async def turns(part: Later, left: int) -> None:
    for _ in range(1000):
        if part.left <= left:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{part.left} modules are left")


@pytest.mark.usefixtures("modules")
def test_they_come_one_after_the_other_once_it_serves() -> None:
    async def story() -> None:
        part = Later(NAMES)
        assert (part.left, imported()) == (3, [])
        part.start()
        assert imported() == []
        await turns(part, 2)
        assert imported() == ["acme_one"]
        await turns(part, 0)
        assert imported() == [*NAMES]
        part.start()
        part.stop()

    asyncio.run(story())


@pytest.mark.usefixtures("modules")
def test_none_comes_while_it_is_frozen_and_all_when_it_goes_on() -> None:
    async def story() -> None:
        part = Later(NAMES)
        part.start()
        await turns(part, 2)
        part.stop()
        for _ in range(100):
            await asyncio.sleep(0)
        assert imported() == ["acme_one"]
        part.start()
        await turns(part, 0)
        assert imported() == [*NAMES]

    asyncio.run(story())


@pytest.mark.usefixtures("modules")
def test_who_takes_over_has_all_at_once() -> None:
    part = Later(NAMES)
    part.finish()
    assert (part.left, imported()) == (0, [*NAMES])
    part.finish()


def test_one_that_cannot_be_imported_is_told_about_and_harms_no_other(
    modules: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (modules / "acme_two.py").write_text("raise RuntimeError('half an installation')\n")
    with caplog.at_level(logging.ERROR):
        Later(NAMES).finish()
    assert imported() == ["acme_one", "acme_three"]
    assert [record.message for record in caplog.records] == [
        "a module cannot be imported; what needs it will fail: install the package again, and upgrade"
    ]


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("collecting", [True, False])
def test_nothing_is_collected_meanwhile_and_afterwards_as_before(collecting: bool) -> None:
    if not collecting:
        gc.disable()
    try:
        Later(NAMES).finish()
        assert gc.isenabled() == collecting
        assert not sys.modules["acme_one"].collecting
    finally:
        gc.enable()


def test_all_that_may_be_asked_for_is_imported_later() -> None:
    text = Path(ondemand.__file__).read_text()
    asked = set(re.findall(r'"(proxy\.[a-z0-9_.]+)"', text))
    assert asked == set(ondemand.MODULES)
