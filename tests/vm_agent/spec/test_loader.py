from __future__ import annotations

import os
from pathlib import Path

import pytest

from vm_agent.errors import SpecError
from vm_agent.spec import loader
from vm_agent.spec.loader import load_settings, load_spec, load_spec_with_warnings, load_specs
from vm_agent.spec.model import (
    AbortIf,
    AgentSettings,
    Health,
    HttpSettings,
    Limits,
    Redirect,
    ReleaseSettings,
    Run,
    Spec,
    UpgradePolicy,
    Window,
)

ROOT = Path(__file__).parents[3]
ISSUE = """\
name: edge
release: 1.4.2
config: edge.yaml
run: {user: hotswap, limits: {memory: 512M, cpu: 0.5, oom_score_adj: 500}}
health: {http: /ready, interval: 2s, timeout: 1s, failures: 3}
upgrade: {bake: 60s, abort_if: {error_rate: 1%, p99_latency: 2x, crashes: 1}, window: "02:00-05:00"}
"""
SHORT = "name: edge\nrelease: 1.4.2\nconfig: edge.yaml\n"
RELEASE_FORM = "write 1 to 64 of A-Z a-z 0-9 . _ + -, the first a letter or digit, and no two dots in a row"


@pytest.fixture
def write(tmp_path: Path) -> Path:
    """The path of a spec; `put` writes it."""
    return tmp_path / "spec.yaml"


def put(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o644)
    return path


def refused(path: Path) -> list[str]:
    with pytest.raises(SpecError) as raised:
        load_spec(path)
    return [line.removeprefix(str(path)) for line in str(raised.value).splitlines()]


def test_spec_with_everything_people_write_is_read_as_it_is_meant(write: Path) -> None:
    assert load_spec(put(write, ISSUE)) == Spec(
        name="edge",
        release="1.4.2",
        config=str(write.parent / "edge.yaml"),
        command=("bin/hotswap", "run", "-c", "{config}"),
        run=Run(user="hotswap", limits=Limits(memory=512 << 20, cpu=0.5, oom_score_adj=500)),
        health=Health(http="/ready", interval=2.0, timeout=1.0, failures=3),
        upgrade=UpgradePolicy(
            bake=60.0, abort_if=AbortIf(error_rate=0.01, p99_latency=2.0, crashes=1), window=Window(120, 300)
        ),
        file=str(write),
    )


def test_path_that_leads_upwards_is_made_plain(write: Path) -> None:
    """systemd takes no ``..`` in the directory that something is started in."""
    loaded = load_spec(put(write, SHORT.replace("config: edge.yaml", "config: ../there/./edge.yaml")))
    assert loaded.config == str(write.parent.parent / "there" / "edge.yaml")


def test_the_example_says_the_same() -> None:
    example = load_spec_with_warnings(ROOT / "examples" / "sidecar.yaml")
    assert example.warnings == ()
    assert example.spec.release == "1.4.2"
    assert example.spec.config == "/etc/hotswap/edge.yaml"
    assert example.spec.upgrade.window == Window(120, 300)


def test_name_release_and_configuration_are_enough(write: Path) -> None:
    loaded = load_spec_with_warnings(put(write, SHORT))
    assert loaded.warnings == ()
    assert loaded.spec == Spec(name="edge", release="1.4.2", config=str(write.parent / "edge.yaml"), file=str(write))


@pytest.mark.parametrize(
    "release", ["1.4", "1.10", "2024-01-02", "7", "1e5", "1_0", "1.0.0rc1", "1.0+local.1", "'1.4'"]
)
def test_release_is_taken_literally(write: Path, release: str) -> None:
    spec = load_spec(put(write, SHORT.replace("1.4.2", release)))
    assert spec.release == release.strip("'")


@pytest.mark.parametrize(
    ("memory", "size"),
    [
        ("512M", 512 << 20),
        ("512MB", 512 << 20),
        ("512MiB", 512 << 20),
        ("1G", 1 << 30),
        ("1T", 1 << 40),
        ("65536K", 64 << 20),
        ("67108864", 64 << 20),
        ('"512M"', 512 << 20),
    ],
)
def test_memory_by_size(write: Path, memory: str, size: int) -> None:
    limits = load_spec(put(write, f"{SHORT}run: {{limits: {{memory: {memory}}}}}")).run.limits
    assert (limits.memory, limits.memory_share) == (size, None)


def test_memory_by_share_and_by_both(write: Path) -> None:
    assert load_spec(put(write, f"{SHORT}run: {{limits: {{memory: 25%}}}}")).run.limits == Limits(memory_share=0.25)
    both = load_spec(put(write, f"{SHORT}run: {{limits: {{memory: 1G, memory_share: 12.5%}}}}")).run.limits
    assert both == Limits(memory=1 << 30, memory_share=0.125)


def test_never_is_no_reason_to_go_back(write: Path) -> None:
    text = f"{SHORT}upgrade: {{abort_if: {{error_rate: never, p99_latency: never, crashes: never}}}}"
    nothing = AbortIf(error_rate=None, p99_latency=None, crashes=None)
    assert load_spec(put(write, text)).upgrade.abort_if == nothing


@pytest.mark.parametrize(
    ("window", "begin", "end"),
    [
        ('"02:00-05:00"', 120, 300),
        ("02:00-05:00", 120, 300),
        ("22:30-06:00", 1350, 360),
        ("20:00-24:00", 1200, 0),
        ("00:00-00:01", 0, 1),
    ],
)
def test_window_also_over_midnight_and_without_quotes(write: Path, window: str, begin: int, end: int) -> None:
    spec = load_spec(put(write, f"{SHORT}upgrade: {{window: {window}}}"))
    assert spec.upgrade.window == Window(begin, end)


def test_lists_mappings_and_everything_else(write: Path) -> None:
    text = f"""{SHORT}
command: [bin/serve, --config, "{{config}}", "--name={{name}}"]
run:
  capabilities: [CAP_NET_ADMIN]
  environment: {{TZ: UTC, A: ""}}
  start_timeout: 5s
  stop_timeout: 90s
  limits: {{cpu: 2, cpu_weight: 10, open_files: 65536, oom_score_adj: 0}}
health: {{http: "http://127.0.0.1:8080/healthz?full=1"}}
upgrade: {{min_requests: 0, timeout: 30s, bake: 0s}}
intercept:
  - {{mode: tproxy, ports: [80, 443], to: 15001}}
  - {{mode: redirect, ports: 5432, to: 15002, direction: outbound, exempt_mark: 0x10, family: ipv4}}
  - {{mode: redirect, ports: 5432, to: 15003, direction: outbound, family: ipv6}}
"""
    spec = load_spec(put(write, text))
    assert spec.command == ("bin/serve", "--config", "{config}", "--name={name}")
    assert spec.run == Run(
        capabilities=("CAP_NET_ADMIN",),
        environment=(("A", ""), ("TZ", "UTC")),
        start_timeout=5.0,
        stop_timeout=90.0,
        limits=Limits(cpu=2.0, cpu_weight=10, open_files=65536, oom_score_adj=0),
    )
    assert spec.health.http == "http://127.0.0.1:8080/healthz?full=1"
    assert spec.intercept == (
        Redirect(mode="tproxy", ports=(80, 443), to=15001),
        Redirect(mode="redirect", ports=(5432,), to=15002, direction="outbound", exempt_mark=16, family="ipv4"),
        Redirect(mode="redirect", ports=(5432,), to=15003, direction="outbound", family="ipv6"),
    )


def test_no_capability_at_all(write: Path) -> None:
    assert load_spec(put(write, f"{SHORT}run: {{capabilities: []}}")).run.capabilities == ()


def test_all_problems_come_at_once_each_with_its_line(write: Path) -> None:
    assert refused(put(write, "name: a/b\nrelease: ..\nrun:\n  limits:\n    cpu: 0\n    memry: 1G\n")) == [
        ":1: name: 'a/b' is not a name; write 1 to 64 of A-Z a-z 0-9 _ . -, the first a letter, digit or _",
        ":1: config is missing; add it, for example config: edge.yaml",
        f":2: release: '..' is not a release; {RELEASE_FORM}",
        ":5: run.limits.cpu: 0 is out of range; write a number of cores from 0.01 to 4096, such as 0.5 or 2",
        ":6: run.limits.memry: 'memry' is not a key of a limits; did you mean memory?",
    ]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("health: {timeout: 2s}", "health.timeout: a check may take as long as the interval; write a shorter timeout"),
        (
            "health: {interval: 1s}",
            "health.interval: a check may take as long as the interval; write a shorter timeout",
        ),
        (
            "run: {limits: {oom_score_adj: -5}}",
            "run.limits.oom_score_adj: the kernel kills the application before it; write a number above 0",
        ),
        (
            "upgrade: {bake: 0s, abort_if: {crashes: 1}}",
            "upgrade.abort_if: without a bake nothing is watched; write bake: 60s",
        ),
    ],
)
def test_what_is_legal_and_probably_not_meant(write: Path, text: str, warning: str) -> None:
    assert load_spec_with_warnings(put(write, SHORT + text)).warnings == (f"{write}:4: {warning}",)


# ---- files ----


def test_spec_that_names_itself_is_none(tmp_path: Path) -> None:
    told = ":3: config: this is the spec itself; write the path of the sidecar's own configuration"
    assert refused(put(tmp_path / "edge.yaml", SHORT)) == [told]
    assert [str(error) for error in load_specs(tmp_path)[1].values()] == [f"{tmp_path}/edge.yaml{told}"]


def test_file_that_is_not_there_or_no_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.yaml") == [
        ": cannot be read: no such file or directory; correct the path, or put the file there"
    ]
    os.mkfifo(tmp_path / "fifo.yaml")
    assert refused(tmp_path / "fifo.yaml") == [": is no regular file; put a spec here, or remove it"]
    (tmp_path / "directory.yaml").mkdir()
    assert refused(tmp_path / "directory.yaml") == [": is no regular file; put a spec here, or remove it"]


def test_large_file_is_not_read(write: Path) -> None:
    put(write, "#" * (loader.MOST_BYTES + 1))
    assert refused(write) == [": larger than 64 KB; is this a spec?"]


def test_file_that_everybody_may_write_is_refused(write: Path) -> None:
    put(write, SHORT).chmod(0o666)
    assert refused(write) == [": everybody may write it, and have anything run by it; chmod o-w"]


def test_file_of_somebody_else_is_refused(write: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(write, SHORT)
    if os.geteuid() == 0:
        os.chown(write, 65534, 65534)
        owner = 65534
    else:
        owner = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert refused(write) == [f": belongs to user {owner}, who could have anything run by it; chown it to root"]


def test_empty_file_names_what_has_to_be_there(write: Path) -> None:
    assert refused(put(write, "")) == [": the file is empty; write at least name, release and config"]


# ---- settings ----


def settings(path: Path, text: str) -> AgentSettings:
    return load_settings(put(path, text))


def test_settings_may_be_empty(write: Path) -> None:
    assert settings(write, "# nothing\n") == AgentSettings()


def test_settings_of_the_example_are_read() -> None:
    assert load_settings(ROOT / "examples" / "agent.yaml") == AgentSettings(
        releases=ReleaseSettings(checksums="required")
    )


def test_settings_with_everything(write: Path) -> None:
    text = """\
specs: /srv/specs
state: /srv/state
runtime_dir: /run/x
runner: children
releases: {source: dist, python: /usr/bin/python3.11, index: default, keep: 0, checksums: required}
http: {address: "0.0.0.0:9443", certificate: a.pem, key: a.key, client_ca: ca.pem, allow: [one.example.com]}
patrol: 1m
"""
    here = write.parent
    assert settings(write, text) == AgentSettings(
        specs="/srv/specs",
        state="/srv/state",
        runtime_dir="/run/x",
        runner="children",
        releases=ReleaseSettings(
            source=f"{here}/dist", python="/usr/bin/python3.11", index="default", keep=0, checksums="required"
        ),
        http=HttpSettings(
            address="0.0.0.0:9443",
            certificate=f"{here}/a.pem",
            key=f"{here}/a.key",
            client_ca=f"{here}/ca.pem",
            allow=("one.example.com",),
        ),
        patrol=60.0,
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("specs: sidecars", "1: specs: 'sidecars' does not fit; write an absolute path such as /run/hotswap"),
        ("specs: /a\nstate: /a/", "2: state: /a/ is specs as well; write two directories"),
        ("runner: system", "1: runner: 'system' is not known; did you mean systemd?"),
        ("releases: {index: pypi}", "1: releases.index: 'pypi' does not fit; write default, or the URL of an index"),
        ("releases: {keep: -1}", "1: releases.keep: '-1' does not fit; write a whole number from 0 to 1000"),
        ("http: {address: 9443}", '1: http.address: YAML reads 9443 as a number; write it in quotes, "9443"'),
        (
            "http: {address: 'unix:/a'}",
            "1: http.address: unix:/a is no network address; write one such as 0.0.0.0:9443",
        ),
        ("http: {address: '[::]:1'}", "1: http: certificate is missing; add it, for example certificate: /etc/"),
        ("http: {cert: a}", "1: http.cert: 'cert' is not a key of a http; did you mean certificate?"),
        ("patrol: 300", "1: patrol: 300 has no unit; write 300s"),
        ("[" * 30, "1: nested deeper than 16 levels; see docs/agent-spec.md for the form"),
    ],
)
def test_settings_that_cannot_be_used_say_where_and_what_to_do(write: Path, text: str, problem: str) -> None:
    with pytest.raises(SpecError) as raised:
        settings(write, text)
    assert f"{write}:{problem}" in str(raised.value)
