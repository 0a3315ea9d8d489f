"""What the page of the image says of the Containerfile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.kit.companion import ROOT

CONTAINERFILE = (Path(ROOT) / "containers" / "Containerfile").read_text()
PAGE = (Path(ROOT) / "docs" / "container-image.md").read_text()


def instructions(name: str) -> list[str]:
    """What follows each instruction of this name."""
    joined = CONTAINERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name} (.+)$", joined, re.MULTILINE)


@pytest.mark.parametrize("argument", sorted({one.split("=")[0] for one in instructions("ARG")}))
def test_every_build_argument_is_explained(argument: str) -> None:
    table = PAGE[PAGE.index("| build argument |") : PAGE.index("Without any network")]
    assert f"`{argument}`" in table


def test_defaults_are_told_as_they_are() -> None:
    assert f"`{instructions('ARG')[0].split('=')[1]}`" in PAGE
    assert f"`{instructions('USER')[0]}`" in PAGE
    (command,) = instructions("CMD")
    words = re.findall(r'"(.+?)"', command)
    assert f"`{' '.join(words)}`" in PAGE


def test_a_build_without_a_target_makes_the_image_that_serves() -> None:
    names = [one.split(" AS ")[1] for one in instructions("FROM")]
    assert names[-2:] == ["empty", "hotswap"]


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    copied = {word for one in instructions("COPY") if "--from" not in one for word in one.split()[:-1]}
    ignore = (Path(ROOT) / ".containerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in ignore if line.startswith("!")} == copied
    assert (Path(ROOT) / "containers" / "Containerfile.dockerignore").resolve() == Path(ROOT) / ".containerignore"
