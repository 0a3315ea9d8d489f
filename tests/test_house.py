"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import hotswap
from hotswap.cli.main import main
from hotswap.errors import HotswapError
from vm_agent import errors as _errors  # noqa: F401  its part of the tree
from vm_agent.cli.main import main as agent

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("hotswap", "proxy", "shm_metrics", "vm_agent")
LONGEST_FILE = 400  # lines

# Who may import whom, besides itself and other distributions.
IMPORTS = {
    "hotswap": set[str](),
    "shm_metrics": set[str](),
    "proxy": {"hotswap", "shm_metrics"},
    "vm_agent": {"hotswap", "shm_metrics"},
}

# Spelled in pieces, so that this file passes its own test.
FOREIGN = ["/wo" + "rk/", "/ro" + "ot/", "/fa" + "rm/", "DESIGN" + ".md", "../sha" + "red", "/opt/py" + "pi"]

SKIPPED = {
    ".git",
    ".cache",
    ".venv",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    "__pycache__",
    "build",
    "dist",
}


def files(*suffixes: str) -> list[Path]:
    """Every file of the tree that a person wrote, with one of these suffixes (all without)."""

    def walk(folder: Path) -> Iterator[Path]:
        for path in sorted(folder.iterdir()):
            if path.name in SKIPPED or path.name.endswith(".egg-info"):
                continue
            if path.is_dir():
                yield from walk(path)
            elif not suffixes or path.suffix in suffixes:
                yield path

    return list(walk(ROOT))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a file imports, relative imports resolved."""
    package = name(path).removesuffix(".py").split("/")[:-1]
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            yield node.lineno, ".".join([*base, *([node.module] if node.module else [])])


def test_imports_point_one_way() -> None:
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for part in PARTS
        for path in files(".py")
        if path.is_relative_to(ROOT / part)
        for line, module in imported(path)
        if module.split(".")[0] in {*PARTS, "tests", "examples"} - IMPORTS[part] - {part}
    ]
    assert wrong == []


def test_files_are_short_enough_to_read_at_one_sitting() -> None:
    lengths = {name(path): len(path.read_text().splitlines()) for path in files(".py", ".pyx", ".c", ".h")}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_every_package_ships_and_nothing_else() -> None:
    packages = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in files(".py")
        if path.relative_to(ROOT).parts[0] in PARTS
    }
    assert set(pyproject()["tool"]["setuptools"]["packages"]) == packages


@pytest.mark.parametrize("package", pyproject()["tool"]["setuptools"]["packages"])
def test_packages_are_regular_ones(package: str) -> None:
    assert (ROOT / package.replace(".", "/") / "__init__.py").exists()


def test_no_path_of_the_machine_it_was_written_on() -> None:
    found = []
    for path in files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{name(path)}: {word}" for word in FOREIGN if word in text]
    assert found == []


def test_every_silenced_lint_rule_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    section = text[text.index("[tool.ruff.lint]") : text.index("[tool.ruff.lint.flake8-tidy-imports")]
    silenced = [line for line in section.splitlines() if re.search(r'"[A-Z]+\d*"', line) and "select" not in line]
    assert silenced
    assert [line for line in silenced if "# " not in line] == []


def test_no_test_sleeps() -> None:
    sleeping = [
        f"{name(path)}:{node.lineno}"
        for path in files(".py")
        if path.is_relative_to(ROOT / "tests") and not path.is_relative_to(ROOT / "tests" / "bench")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "sleep"}
    ]
    assert sleeping == []


def anchors(markdown: str) -> set[str]:
    """The anchors that a renderer gives the headings of a page."""
    headings = re.findall(r"^#+ +(.+?)\s*$", markdown, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file) if file else page
        if not linked.exists():
            yield f"{name(page)}: {target} does not exist"
        elif anchor and linked.suffix == ".md" and anchor not in anchors(linked.read_text()):
            yield f"{name(page)}: {target} has no such heading"


def test_links_between_pages_resolve() -> None:
    assert [broken for page in files(".md") for broken in broken_links(page)] == []


def test_every_page_can_be_reached() -> None:
    """From README.md, by links."""
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in re.findall(r"\]\(([^)#\s]+\.md)[^)]*\)", page.read_text()):
            linked = (page.parent / target).resolve()
            if linked.exists():
                ahead.append(linked)
    assert [name(page) for page in files(".md") if page not in reached] == []


def test_the_version_is_the_same_everywhere() -> None:
    version = pyproject()["project"]["version"]
    assert hotswap.__version__ == version
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)


def test_every_command_has_a_page() -> None:
    commands = main.list_commands(click.Context(main))
    assert {"run", "upgrade", "status"} <= set(commands)
    assert [command for command in commands if not (ROOT / "docs" / f"{command}.md").exists()] == []


def test_every_command_of_the_agent_is_on_its_page() -> None:
    page = anchors((ROOT / "docs" / "agent.md").read_text())
    commands = agent.list_commands(click.Context(agent))
    assert {"run", "upgrade", "status"} <= set(commands)
    assert [command for command in commands if f"hotswap-agent-{command}" not in page] == []


def test_every_option_of_the_agent_is_on_its_page() -> None:
    page = (ROOT / "docs" / "agent.md").read_text()
    context = click.Context(agent)
    commands = {name: agent.get_command(context, name) for name in agent.list_commands(context)}
    missing = []
    for name, command in commands.items():
        assert command is not None
        usage = next(line for line in page.splitlines() if line.startswith(f"    hotswap-agent {name} "))
        for parameter in command.params:
            longest = max(parameter.opts, key=len) if parameter.opts else ""
            spelled = parameter.secondary_opts[-1] if parameter.secondary_opts else longest
            if isinstance(parameter, click.Option) and spelled not in usage:
                missing.append(f"{name} {spelled}")
    assert missing == []


def test_every_exit_code_is_on_its_page() -> None:
    page = (ROOT / "docs" / "exit-codes.md").read_text()
    kinds: list[type[HotswapError]] = [HotswapError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    ours = [kind for kind in kinds if kind.__module__ in {"hotswap.errors", "vm_agent.errors"} and kind.exit_code > 1]
    assert [kind.__name__ for kind in ours if f"| {kind.exit_code} | {kind.__name__} |" not in page] == []
