"""What the pages say of the manifests: every field with its value and a reason, and commands that exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.manifests import documents, leaves, parse
from tests.kit.companion import ROOT

DOCS = Path(ROOT) / "docs"
COMMON = "containers.md"
PAGES = {
    "pod.yaml": "pod.md",
    "native-sidecars.yaml": "kubernetes.md",
    "sidecarset.yaml": "openkruise.md",
    "configmap.yaml": COMMON,
}
CONTAINERS = re.compile(r"(?:initContainers|containers)$")


def rows(page: str) -> Iterator[tuple[str, str, str]]:
    """What the tables below headings like ### `Pod.spec` explain: path, value, reason."""
    above = ""
    for line in (DOCS / page).read_text().splitlines():
        if line.startswith("#"):
            heading = re.fullmatch(r"### `(.+)`", line)
            above = heading[1] if heading else ""
        elif above and line.startswith("| `"):
            path, value, reason = (cell.strip() for cell in line.strip("|").split(" | ", 2))
            yield f"{above}.{path.strip('`')}", value.replace("`", ""), reason.strip(" |")


def explained(manifest: str) -> dict[str, str]:
    """Path and value, by the page of a manifest or else by that of them all."""
    return {path: value for page in (COMMON, PAGES[manifest]) for path, value, _ in rows(page)}


def fields(manifest: str) -> Iterator[tuple[str, str]]:
    for document in documents(manifest):
        yield from leaves(document, document["kind"])


def places(path: str) -> Iterator[str]:
    """Where a field may be explained: at its own place, or as one of any container."""
    yield path
    parts = path.split(".")
    for at, part in enumerate(parts):
        if CONTAINERS.match(part):
            yield ".".join(["CONTAINER", *parts[at + 1 :]])


@pytest.mark.parametrize("manifest", PAGES)
def test_every_field_is_explained_with_its_value(manifest: str) -> None:
    page = explained(manifest)
    unexplained, otherwise = [], []
    for path, value in fields(manifest):
        said = next((page[place] for place in places(path) if place in page), None)
        if said is None:
            unexplained.append(path)
        elif "\n" not in value and not re.search(rf"(?<!\S){re.escape(value)}(?!\S)", said):
            otherwise.append(f"{path} is {value}, and the page says {said}")
    assert (unexplained, otherwise) == ([], [])


@pytest.mark.parametrize("manifest", PAGES)
def test_nothing_is_explained_that_is_not_there(manifest: str) -> None:
    there = {place for path, _ in fields(manifest) for place in places(path)}
    assert [
        path for path, _, _ in rows(PAGES[manifest]) if path not in there and not path.startswith("CONTAINER.")
    ] == []


def test_what_is_explained_for_all_is_in_all() -> None:
    common = {path for path, _, _ in rows(COMMON) if path.startswith("CONTAINER.")}
    for manifest in set(PAGES) - {"configmap.yaml"}:
        there = {place for path, _ in fields(manifest) for place in places(path)}
        assert common - there <= {"CONTAINER.ports.name", "CONTAINER.ports.containerPort"}, manifest


def test_an_explanation_says_more_than_a_value() -> None:
    assert [
        path for page in set(PAGES.values()) for path, _, reason in rows(page) if len(reason) < len("Its name.")
    ] == []


def command_lines(page: str) -> Iterator[list[str]]:
    """Those of our own program in the indented blocks of a page, however they are run."""
    text = (DOCS / page).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        found = re.search(r"(?:^ {4}|-- |exec [\w-]+ )hotswap (.+)|localhost/hotswap:\d (run .+)", line)
        if line.startswith("    ") and found:
            words = re.split(r" (?:&|#|\||;)|;|&&", found[1] or found[2])[0]
            yield shlex.split(words)


@pytest.mark.parametrize("page", sorted(set(PAGES.values())))
def test_commands_on_the_pages_are_ones(page: str) -> None:
    lines = list(command_lines(page))
    assert lines
    for words in lines:
        parse(words)
