"""A whole agent with a sidecar: nothing is found where nothing is wrong, and what somebody breaks is."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.kit.agents import Agents
from tests.kit.offspring import kill
from tests.kit.ports import loopback
from tests.kit.segments import remove_segments
from tests.kit.stage import Stage, configuration
from tests.kit.waiting import eventually

pytestmark = [pytest.mark.all, pytest.mark.timeout(300)]

PATIENCE = 60.0


class Site:
    """One agent and one sidecar, `edge`."""

    def __init__(self, stage: Stage) -> None:
        self.agents = Agents(stage.directory / "agent", stage.offspring)
        self.config = stage.directory / "edge.yaml"
        self.config.write_text(yaml.safe_dump(configuration(loopback(), loopback(), stage.upstreams())))

    def findings(self) -> set[tuple[str, str, str]]:
        """Of the sidecar and its releases, not of the machine that the test runs on."""
        answer: dict[str, Any] = msgspec.json.decode(self.agents.agent("inspect", "--json").stdout)
        found = [one for one in answer["findings"] if one["sidecar"] or one["what"] in {"release_damaged", "patrol"}]
        return {(one["severity"], one["what"], one["place"]) for one in found}

    def wait_found(self, *wanted: tuple[str, str, str]) -> None:
        eventually(lambda: self.findings() == set(wanted), within=PATIENCE, what=f"{wanted} and nothing else is found")


@pytest.fixture
def site() -> Iterator[Site]:
    if os.geteuid():
        pytest.skip("not root")  # to lower a score again
    stage = Stage()
    try:
        made = Site(stage)
        yield made
        print(made.agents.said())
        kill(made.agents.pid, signal.SIGKILL)
    finally:
        stage.close()
        remove_segments("edge", stage.directory / "agent" / "run")


def test_what_somebody_breaks_is_found_and_what_is_mended_is_not(site: Site) -> None:
    agents = site.agents
    for version in ("1.0.0", "1.1.0"):
        agents.release(version)
    agents.spec("edge", release="1.0.0", config=site.config)
    agents.start()
    pid = agents.serves("edge", "1.0.0")["pid"]
    site.wait_found()

    score = Path(f"/proc/{pid}/oom_score_adj")
    before = score.read_text()
    score.write_text("600")
    site.wait_found(("warning", "limits", "oom_score_adj"))
    score.write_text(before)
    site.wait_found()

    (agents.state / "releases" / "1.0.0" / "bin" / "hotswap").chmod(0o700)
    site.wait_found(("error", "release_damaged", "1.0.0"))

    agents.agent("pause", "edge")
    agents.spec("edge", release="1.1.0", config=site.config, run={"environment": {"TZ": "UTC"}})
    site.wait_found(
        ("error", "release_damaged", "1.0.0"),
        ("notice", "paused", ""),
        ("notice", "version_drift", "process"),
        ("warning", "launch_drift", "environment"),
    )
    agents.agent("resume", "edge")
    agents.spec("edge", release="1.1.0", config=site.config, upgrade={"bake": "100ms"})
    agents.serves("edge", "1.1.0")
    site.wait_found(("warning", "release_damaged", "1.0.0"))  # nobody is started from it, one may go back to it

    told = [line for line in agents.decisions("edge") if line.startswith(("found", "mended"))]
    assert [line.partition(" ")[0] for line in told] == ["found:", "mended:", *["found:"] * 3, *["mended:"] * 3]
