from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.vm_agent.spec.test_loader import SHORT, put
from vm_agent.errors import SpecError
from vm_agent.spec.loader import load_spec
from vm_agent.spec.machine import check_spec
from vm_agent.spec.model import Spec


def checked(directory: Path, config: str | None, more: str = "") -> list[str]:
    """What is wrong with a spec beside this configuration, without the directory."""
    if config is not None:
        put(directory / "edge.yaml", config)
    return refused(load_spec(put(directory / "spec.yaml", SHORT + more)), directory)


def refused(spec: Spec, directory: Path) -> list[str]:
    try:
        check_spec(spec)
    except SpecError as error:
        return str(error).replace(f"{directory}/", "").splitlines()
    return []


def test_good_spec(tmp_path: Path) -> None:
    assert checked(tmp_path, "name: edge\n", "run: {user: root}") == []


@pytest.mark.parametrize(
    ("user", "remedy"),
    [("hotswap-nobody-knows", "make it: useradd --system hotswap-nobody-knows"), ("roott", "did you mean root?")],
)
def test_unknown_user(tmp_path: Path, user: str, remedy: str) -> None:
    assert checked(tmp_path, "name: edge\n", f"run:\n  user: {user}") == [
        f"spec.yaml:5: run.user: there is no user {user}; {remedy}"
    ]


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (None, "there is no file edge.yaml; put the sidecar's configuration there"),
        ("name: web\n", "edge.yaml:1 has 'web' for name, and this spec 'edge'; write the same name in both"),
        ("listeners: []\n", "edge.yaml has nothing for name, and this spec 'edge'; write the same name in both"),
        ("a: 1\nname: [edge]\n", "edge.yaml:2 has a list for name, and this spec 'edge'; write the same name in both"),
        ("a\n", "edge.yaml has nothing for name, and this spec 'edge'; write the same name in both"),
        ("a: 1\nb: {c\n", "edge.yaml:3: not valid YAML: "),
    ],
)
def test_configuration_of_another_name_or_none(tmp_path: Path, config: str | None, problem: str) -> None:
    (told,) = checked(tmp_path, config)
    assert told.startswith(f"spec.yaml:3: config: {problem}")


def test_what_another_program_is_configured_by_is_not_looked_into(tmp_path: Path) -> None:
    assert checked(tmp_path, "\xff[", "command: [bin/other, '{config}']") == []


def test_file_that_says_something_else_by_now_has_no_lines(tmp_path: Path) -> None:
    spec = load_spec(put(tmp_path / "spec.yaml", SHORT))
    put(tmp_path / "spec.yaml", "nonsense")
    assert refused(spec, tmp_path) == [
        "spec.yaml: config: there is no file edge.yaml; put the sidecar's configuration there"
    ]
    assert refused(msgspec.structs.replace(spec, file=""), tmp_path)[0].startswith("edge: config: there is no file")


def test_rules_that_would_lead_the_sidecar_to_itself(tmp_path: Path) -> None:
    led = "intercept:\n  - {mode: redirect, direction: outbound, ports: [80], to: 15001}"
    (told,) = checked(tmp_path, "name: edge\n", led)
    assert told.startswith("spec.yaml: intercept[0].direction: the sidecar's own connections could not be told apart")
