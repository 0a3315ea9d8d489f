"""Sites whose clients all go in the end of a test, and must leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.proxy.http2.backend import Site, behind


@pytest.fixture
def site(moving: bool) -> Iterator[Callable[..., Site]]:
    """Makes them; the keys are those of `behind`."""
    made: list[Site] = []

    def build(**about: object) -> Site:
        made.append(Site(behind(**about), moving=moving))  # type: ignore[arg-type]  # as the keys say
        return made[-1]

    yield build
    for one in made:
        one.leave()
