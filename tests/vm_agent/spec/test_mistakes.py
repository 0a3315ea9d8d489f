"""Every bad value gives its line, its key, and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm_agent.spec.test_loader import SHORT, put, refused
from vm_agent.spec.keys import SECTIONS

MISTAKES = [
    ("name", "agent.sock", "agent.sock is the agent's own; write another name"),
    ("name", "../edge", "'../edge' is not a name; write 1 to 64 of A-Z"),
    ("name", ".edge", "'.edge' is not a name; write 1 to 64"),
    ("name", "7", 'YAML reads 7 as a number; write it in quotes, "7"'),
    ("release", "", "the value is missing; write a release such as 1.4.2"),
    ("release", "on", 'YAML reads on as a boolean; write it in quotes, "on"'),
    ("release", "a/b", "'a/b' is not a release; write 1 to 64 of A-Z a-z 0-9"),
    ("release", "-1", "'-1' is not a release"),
    ("release", ".5", "'.5' is not a release"),
    ("release", "1..2", "'1..2' is not a release; write 1 to 64 of A-Z a-z 0-9 . _ + -, the first a letter or digit"),
    ("release", "[1]", "a list stands here; write a release such as 1.4.2"),
    ("config", "{a: b}", "a mapping stands here; write the path of a file such as edge.yaml"),
    ("command", "bin/hotswap run", "'bin/hotswap run' stands here; write a list of words such as [bin/hotswap, run"),
    ("command", "[]", "a list stands here; write a list of words"),
    ("command", "[/bin/sh]", "'/bin/sh' is not in the release; write a path in its directory such as bin/hotswap"),
    ("command", "[../sh]", "'../sh' is not in the release; write a path"),
    ("command", "[bin/x, '{confg}']", "'{confg}' is not filled in; did you mean {config}?"),
    ("command", "[bin/x, '{1}']", "'{1}' is not filled in; what is are {config}, {name}, {runtime_dir}"),
    ("command", "[bin/x, 80]", 'YAML reads 80 as a number; write it in quotes, "80"'),
    ("run.user", "Root User", "'Root User' does not fit; write the name of a user such as hotswap"),
    ("run.user", "1000", 'YAML reads 1000 as a number; write it in quotes, "1000"'),
    ("run.capabilities", "[net_admin]", "'net_admin' is not a capability; did you mean CAP_NET_ADMIN?"),
    ("run.capabilities", "[wings]", "'wings' is not a capability; "),
    ("run.capabilities", "CAP_NET_RAW", "'CAP_NET_RAW' stands here; write a list of capabilities such as [CAP_NET_"),
    ("run.capabilities", "[CAP_KILL, CAP_KILL]", "CAP_KILL stands here twice; write each once"),
    ("run.environment", "[A=b]", "a list stands here; write variables such as {TZ: UTC}"),
    ("run.environment", "{PORT: 80}", 'PORT: YAML reads 80 as a number; write it in quotes, "80"'),
    ("run.environment", "{A-B: x}", "'A-B' is not a variable; write letters, digits and _, the first no digit"),
    ("run.environment", "{LISTEN_FDS: '3'}", "LISTEN_FDS is set by what runs the sidecar; remove it"),
    ("run.environment", '{A: "a\\nb"}', "A: 'a\\nb' does not fit; write one line"),
    ("run.environment", "{A: a, A: b}", "A stands here twice; write each variable once"),
    ("run.start_timeout", "30", "30 has no unit; write 30s"),
    ("run.stop_timeout", "0s", "0s is out of range; write a duration from 100ms to 365d"),
    ("run.limits.memory", "512", "512 is out of range; write a size from 16M to 1024T"),
    ("run.limits.memory", "0.25", "'0.25' is not a size; write one with K, M, G or T such as 512M, or a percentage"),
    ("run.limits.memory", "512m", "'512m' is not a size; write one with K, M, G or T such as 512M"),
    ("run.limits.memory", "0%", "0% is out of range; write a percentage from 1% to 100%"),
    ("run.limits.memory", "101%", "101% is out of range; write a percentage from 1% to 100%"),
    ("run.limits.memory_share", "0.5", "'0.5' is not a percentage; write a percentage from 1% to 100%, such as 25%"),
    ("run.limits.cpu", "0", "0 is out of range; write a number of cores from 0.01 to 4096, such as 0.5 or 2"),
    ("run.limits.cpu", "-1", "'-1' does not fit; write a number of cores from 0.01"),
    ("run.limits.cpu", "50%", "'50%' does not fit; cores have no unit here, write 0.5"),
    ("run.limits.cpu", "500m", "'500m' does not fit; cores have no unit here, write 0.5"),
    (
        "run.limits.cpu",
        "'0.5'",
        "'0.5' does not fit; write a number of cores from 0.01 to 4096, such as 0.5 or 2, with",
    ),
    ("run.limits.cpu", ".inf", "'.inf' does not fit; write a number of cores"),
    ("run.limits.cpu_weight", "0", "'0' does not fit; write a whole number from 1 to 10000, without quotes"),
    (
        "run.limits.oom_score_adj",
        "1001",
        "'1001' does not fit; write a whole number from -1000 to 1000, without quotes",
    ),
    ("run.limits.oom_score_adj", "-1001", "'-1001' does not fit; write a whole number from -1000 to 1000"),
    ("run.limits.open_files", "10", "'10' does not fit; write a whole number from 64 to 1048576"),
    ("health.http", "ready", "'ready' does not fit; write a path such as /ready, or a URL such as http://127.0.0.1:80"),
    ("health.http", "https://a/", "'https://a/' does not fit; write a path such as /ready, or a URL such as http://"),
    ("health.http", "/a b", "'/a b' does not fit; write a path"),
    ("health.interval", "2", "2 has no unit; write 2s"),
    ("health.timeout", "soon", "'soon' is not a duration; write a number and one of ms, s, m, h, d, such as 30s"),
    ("health.failures", "0", "'0' does not fit; write a whole number from 1 to 1000"),
    ("upgrade.bake", "60", "60 has no unit; write 60s"),
    ("upgrade.abort_if.error_rate", "0.01", "'0.01' is not a percentage; write a percentage from 0% to 100%, such as"),
    ("upgrade.abort_if.error_rate", "off", 'YAML reads off as a boolean; write it in quotes, "off"; or never'),
    ("upgrade.abort_if.p99_latency", "2", "'2' is not a multiple; write a multiple from 1.1x to 1000x, such as 2x"),
    ("upgrade.abort_if.p99_latency", "1x", "1x is out of range; write a multiple from 1.1x to 1000x"),
    ("upgrade.abort_if.p99_latency", "200ms", "'200ms' is not a multiple; write a multiple from 1.1x to 1000x"),
    (
        "upgrade.abort_if.crashes",
        "0",
        "'0' does not fit; write a whole number from 1 to 1000, without quotes; or never",
    ),
    ("upgrade.min_requests", "many", "'many' does not fit; write a whole number from 0 to 1000000000"),
    ("upgrade.window", "2-5", "'2-5' is not a window; write a time of day from and until, local time, such as \"02:00"),
    ("upgrade.window", "02:00-25:00", "'02:00-25:00' is not a window; write a time of day from and until"),
    ("upgrade.window", "02:00", "'02:00' is not a window; write a time of day from and until"),
    ("upgrade.window", "02:00-02:00", "02:00-02:00 is no time or all day; write two times that differ, or leave"),
    ("upgrade.timeout", "500ms", "500ms is out of range; write a duration from 1s to 365d"),
    ("intercept", "[]", "the list is empty; add at least one interception"),
    ("intercept", "{mode: redirect}", "a mapping stands here; write a list, each item with a leading -"),
]
RULES = [
    ("{mode: tproxy, to: 1}", "intercept[0]: ports is missing; add it, for example ports: [80, 443]"),
    (
        "{mode: tproxy, ports: 80, to: 1}",
        "intercept[0].mode: tproxy needs a transparent listener; add CAP_NET_ADMIN to",
    ),
    ("{mode: nat, ports: 80, to: 1}", "intercept[0].mode: 'nat' is not known; write one of redirect, tproxy"),
    ("{mode: redirect, ports: [], to: 1}", "intercept[0].ports: a list stands here; write a list of ports such as [80"),
    ("{mode: redirect, ports: 0, to: 1}", "intercept[0].ports: '0' does not fit; write a whole number from 1 to 65535"),
    ("{mode: redirect, ports: [80, 80], to: 1}", "intercept[0].ports: 80 stands here twice; write each port once"),
    (
        "{mode: redirect, ports: 80, to: 80}",
        "intercept[0].ports: 80 would be led to itself; remove it here, or change to",
    ),
    (
        "{mode: redirect, ports: 80, to: 1}, {mode: redirect, ports: [81, 80], to: 2}",
        "intercept[1].ports: 80 is led elsewhere by intercept[0] already; keep one of them",
    ),
    (
        "{mode: redirect, ports: 80, to: 1, family: ipv6}, {mode: redirect, ports: 80, to: 2}",
        "intercept[1].ports: 80 is led elsewhere by intercept[0] already; keep one of them",
    ),
    ("{mode: redirect, ports: 80, to: 1, family: inet}", "intercept[0].family: 'inet' is not known; "),
    (
        "{mode: redirect, ports: 80, to: 1, exempt_mark: 0}",
        "intercept[0].exempt_mark: '0' does not fit; write a number",
    ),
    (
        "{mode: redirect, ports: 80, to: 1, exempt_mark: x}",
        "intercept[0].exempt_mark: 'x' does not fit; write a number",
    ),
    ("{mode: redirect, ports: 80, to: 1, direction: in}", "intercept[0].direction: 'in' is not known; "),
    (
        "{mode: redirect, port: 80, to: 1}",
        "intercept[0].port: 'port' is not a key of an interception; did you mean ports?",
    ),
]


def placed(key: str, value: str) -> tuple[int, str]:
    """A spec with this value, and the line of it."""
    *sections, last = key.split(".")
    lines = SHORT.splitlines()
    if not sections and any(line.startswith(f"{last}:") for line in lines):
        number = next(number for number, line in enumerate(lines) if line.startswith(f"{last}:"))
        lines[number] = f"{last}: {value}"
        return number + 1, "\n".join(lines)
    for depth, section in enumerate(sections):
        lines.append("  " * depth + f"{section}:")
    lines.append("  " * len(sections) + f"{last}: {value}")
    return len(lines), "\n".join(lines)


@pytest.mark.parametrize(("key", "value", "problem"), MISTAKES)
def test_bad_value_says_where_and_what_to_write(tmp_path: Path, key: str, value: str, problem: str) -> None:
    line, text = placed(key, value)
    (told,) = refused(put(tmp_path / "spec.yaml", text))
    assert told.startswith(f":{line}: {key}: {problem}")


@pytest.mark.parametrize(("rules", "problem"), RULES)
def test_bad_interception_says_where_and_what_to_write(tmp_path: Path, rules: str, problem: str) -> None:
    told = refused(put(tmp_path / "spec.yaml", f"{SHORT}intercept: [{rules}]"))
    assert any(line.startswith(f":4: {problem}") for line in told), told


def test_percentage_beside_a_percentage(tmp_path: Path) -> None:
    text = f"{SHORT}run:\n  limits:\n    memory: 25%\n    memory_share: 20%\n"
    assert refused(put(tmp_path / "spec.yaml", text)) == [
        ":7: run.limits.memory_share: memory is a percentage already; remove one of the two"
    ]


def test_every_key_has_a_mistake() -> None:
    sections = {"spec": "", "run": "run.", "limits": "run.limits.", "health": "health.", "upgrade": "upgrade."}
    sections["abort_if"] = "upgrade.abort_if."
    missing = [
        f"{sections[section.title]}{key.name}"
        for section in SECTIONS
        if section.title in sections
        for key in section.keys
        if f"{sections[section.title]}{key.name}" not in {key for key, _, _ in MISTAKES}
        and key.name not in ("run", "health", "upgrade", "limits", "abort_if")
    ]
    assert missing == []
