"""What a sidecar is when it begins to run: whose, with which rights, limits and descriptors."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import prctl
import pytest

from tests.kit.offspring import Offspring
from tests.vm_agent.runners.stage import PROGRAM, Stage, look
from vm_agent.runners.base import Launch
from vm_agent.runners.plan import command, environment
from vm_agent.spec.model import Limits

PYTHON = "/usr/bin/python3"  # one that every user may read


@pytest.fixture
def public() -> Iterator[Stage]:
    """A stage in a directory that every user may enter."""
    if os.geteuid():
        pytest.skip("not root")
    if not Path(PYTHON).exists():
        pytest.skip(f"{PYTHON} is not installed")
    directory = Path(tempfile.mkdtemp(prefix="hotswap-"))
    directory.chmod(0o755)
    shutil.copy(PROGRAM, directory)
    made = Stage(directory, Offspring())
    try:
        yield made
        print(made.log.read_text() if made.log.exists() else "")
    finally:
        made.end()
        shutil.rmtree(directory)


def of_all(stage: Stage, limits: Limits = Limits(), **changes: object) -> Launch:  # noqa: B008  it is frozen
    argv = (PYTHON, "-I", "-S", "-B", str(stage.directory / PROGRAM.name), str(stage.port))
    return stage.launch(command=argv, limits=limits, **changes)


def score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.mark.all
def test_it_runs_as_its_user_with_the_capabilities_it_may_keep_and_no_others(public: Stage) -> None:
    async def scene() -> None:
        nobody = pwd.getpwnam("nobody")
        bit = f"{1 << prctl.CAP_NET_BIND_SERVICE:016x}"
        async with public.children() as runner:
            await runner.start(of_all(public, user="nobody", capabilities=("CAP_NET_BIND_SERVICE",)))
            assert (await look(runner)).ready
            assert (await public.ask("status", "Uid")).split() == [str(nobody.pw_uid)] * 4
            assert (await public.ask("status", "Gid")).split() == [str(nobody.pw_gid)] * 4
            assert (await public.ask("status", "Groups")).split() == [str(nobody.pw_gid)]
            for kind in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
                assert (kind, await public.ask("status", kind)) == (kind, bit)
            assert await public.ask("status", "NoNewPrivs") == "1"
            own = (public.runtime_dir / "edge").stat()
            assert (own.st_uid, own.st_mode & 0o777) == (nobody.pw_uid, 0o700)
            await runner.stop("edge", 5.0)

    asyncio.run(scene())


@pytest.mark.all
def test_root_too_has_only_the_capabilities_it_may_keep(public: Stage) -> None:
    async def scene() -> None:
        bit = f"{1 << prctl.CAP_NET_BIND_SERVICE | 1 << prctl.CAP_NET_ADMIN | 1 << 40:016x}"
        async with public.children() as runner:
            await runner.start(
                of_all(public, capabilities=("CAP_NET_BIND_SERVICE", "cap_net_admin", "CAP_CHECKPOINT_RESTORE"))
            )
            assert [await public.ask("status", kind) for kind in ("CapEff", "CapBnd")] == [bit, bit]
            await runner.stop("edge", 5.0)

    asyncio.run(scene())


@pytest.mark.all
def test_a_directory_of_another_user_becomes_its_own(public: Stage) -> None:
    async def scene() -> None:
        async with public.children() as runner:
            for user in ("nobody", "daemon", ""):
                await runner.start(of_all(public, user=user))
                uid = pwd.getpwnam(user).pw_uid if user else 0
                assert (public.runtime_dir / "edge").stat().st_uid == uid
                assert (public.runtime_dir / ".agent" / "edge.notify").stat().st_uid == uid
                (public.runtime_dir / "edge" / "lock").touch(mode=0o600)
                await runner.stop("edge", 5.0)

    asyncio.run(scene())


def test_it_has_its_limits_and_they_change_while_it_runs(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            launch = stage.launch(limits=Limits(open_files=200, oom_score_adj=600, cpu_weight=50))
            await runner.start(launch)
            pid = (await look(runner)).pid
            assert await stage.ask("files") == "(200, 0)"
            assert score(pid) == 600
            missed = await runner.limit(stage.launch(limits=Limits(open_files=100, oom_score_adj=700, cpu_weight=50)))
            assert await stage.ask("files") == "(100, 0)"
            assert score(pid) == 700
            if [text for text in missed if text.startswith("cpu_weight")]:
                assert await stage.ask("nice") == "3"
            await runner.stop("edge", 5.0)

    asyncio.run(scene())


def test_the_command_line_says_what_is_to_be_done_before(stage: Stage) -> None:
    launch = stage.launch(limits=Limits(oom_score_adj=321, open_files=99, cpu_weight=50))
    words = command(launch, None, ["/cg/cgroup.procs"], listen=[7, 9], nice=True)
    before = words[words.index("-B") + 2 : words.index("--")]
    assert before[:5] == ["cgroup=/cg/cgroup.procs", "oom=321", "nice=3", "nofile=99", "listen=7,9"]
    assert words[words.index("--") + 1 :] == [*launch.command]


def test_it_gets_nothing_of_the_environment_that_it_has_no_use_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the agent")
    monkeypatch.setenv("LANG", "C.UTF-8")
    got = environment(stage.launch(environment={"A": "b"}, watchdog=1.5), Path("/run/n"), ["x", "y"])
    assert "SECRET" not in got
    assert got["LANG"] == "C.UTF-8"
    expected = {
        "A": "b",
        "PYTHONSAFEPATH": "1",
        "HOTSWAP_RUNTIME_DIR": str(stage.runtime_dir),
        "NOTIFY_SOCKET": "/run/n",
        "WATCHDOG_USEC": "1500000",
        "LISTEN_FDNAMES": "x:y",
    }
    assert {name: got[name] for name in expected} == expected
