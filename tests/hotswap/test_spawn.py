from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hotswap import spawn
from hotswap.errors import ConfigError, DestinationFailed, HotswapError
from hotswap.spawn import REPORT_VARIABLE, TOKEN_VARIABLE, Report, Spawned
from tests.kit.companion import ROOT
from tests.kit.descriptors import descriptors
from tests.kit.waiting import readable

PATIENCE = 10.0


class Spawning:
    """Starts Python programs and sees to it that none is left."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.all: list[Spawned] = []

    def __call__(self, program: str) -> Spawned:
        command = [sys.executable, "-c", f"import os, sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"]
        self.all.append(Spawned(command, str(self.directory)))
        return self.all[-1]


def ended(spawned: Spawned) -> Spawned:
    """Wait until it is dead."""
    assert readable(spawned.pidfd, within=PATIENCE)
    return spawned


@pytest.fixture
def spawning(tmp_path: Path) -> Iterator[Spawning]:
    made = Spawning(tmp_path)
    yield made
    for spawned in made.all:
        if spawned.running:
            spawned.kill()
            ended(spawned)
            spawned.failure()


def test_it_runs_where_it_was_told_to(spawning: Spawning, tmp_path: Path) -> None:
    ours = Path.cwd()
    spawned = ended(spawning("open('here', 'w').write(os.getcwd())"))
    assert ours == Path.cwd()
    assert (tmp_path / "here").read_text() == str(tmp_path)
    assert not spawned.running


def test_it_knows_the_token_and_nothing_it_starts_will(spawning: Spawning, tmp_path: Path) -> None:
    spawned = ended(
        spawning(
            "from hotswap import spawn\n"
            "token = spawn.inherited_token(); report = spawn.inherited_report()\n"
            "inherits = os.popen('env; ls -l /proc/self/fd').read()\n"
            "open('told', 'w').write(repr((token, report >= 0, f'{report} ->' in inherits, inherits)))"
        )
    )
    text = (tmp_path / "told").read_text()
    assert text.startswith(repr((spawned.token, True, False))[:-1])
    assert TOKEN_VARIABLE not in text
    assert REPORT_VARIABLE not in text


def test_two_are_never_taken_for_each_other(spawning: Spawning) -> None:
    first, second = ended(spawning("")), ended(spawning(""))
    assert first.token != second.token
    assert len(first.token) >= 32


def test_it_inherits_no_descriptor_but_the_report(spawning: Spawning, tmp_path: Path) -> None:
    leak, other_end = os.pipe()
    os.set_inheritable(leak, True)  # as a shell passes what it was told to
    spawn.keep_to_ourselves()
    try:
        ended(spawning(f"open('fds', 'w').write(' '.join(sorted(os.listdir('/proc/self/fd'))))\nassert {leak}"))
    finally:
        os.close(leak)
        os.close(other_end)
    fds = (tmp_path / "fds").read_text().split()
    assert len(fds) <= 3 + 1 + 2  # standard ones, report, the file and the directory being listed


def test_a_death_is_seen_on_the_pidfd(spawning: Spawning) -> None:
    spawned = spawning("sys.stdin.read(); os.kill(os.getpid(), 19)")
    assert spawned.running is True
    assert not readable(spawned.pidfd, within=0)
    spawned.kill()
    assert ended(spawned).running is False
    spawned.kill()  # too late is fine


def test_its_own_words_say_why_it_gave_up(spawning: Spawning) -> None:
    spawned = ended(
        spawning(
            "from hotswap import errors, spawn\n"
            "spawn.report(spawn.inherited_report(), errors.ConfigError('edge.yaml:3: no such key'))\n"
            "sys.exit(3)"
        )
    )
    failure = spawned.failure()
    assert type(failure) is ConfigError
    assert "gave up: edge.yaml:3: no such key" in str(failure)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("sys.exit(9)", "ended with exit code 9"),
        ("os.kill(os.getpid(), 9)", "was killed by signal 9"),
        (f"os.write(int(os.environ['{REPORT_VARIABLE}']), b'no json'); sys.exit(1)", "ended with exit code 1"),
        (f"os.write(int(os.environ['{REPORT_VARIABLE}']), b'[1]'); sys.exit(1)", "ended with exit code 1"),
    ],
)
def test_without_words_its_end_is_told(spawning: Spawning, program: str, words: str) -> None:
    failure = ended(spawning(program)).failure()
    assert type(failure) is DestinationFailed
    assert words in str(failure)


@pytest.mark.parametrize("journal", [True, False])
def test_without_words_it_is_told_where_its_log_is(
    spawning: Spawning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, journal: bool
) -> None:
    saved = os.dup(2)
    with (tmp_path / "log").open("wb") as log:
        state = os.fstat(log.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{state.st_dev}:{state.st_ino}" if journal else "8:1")
        os.dup2(log.fileno(), 2)
        try:
            spawned = ended(spawning("sys.exit(9)"))
            told = str(spawned.failure())
        finally:
            os.dup2(saved, 2)
            os.close(saved)
    assert told.endswith(f"its log: journalctl _PID={spawned.pid}" if journal else f"its log: {tmp_path}/log")


def test_a_report_that_is_written_by_others_as_well_does_not_block(spawning: Spawning) -> None:
    """A process it forked may hold the pipe open: reading must not wait for its end."""
    spawned = ended(spawning("if os.fork() == 0:\n    os.execvp('sleep', ['sleep', '2'])\nos._exit(5)"))
    assert "exit code 5" in str(spawned.failure())


@pytest.mark.parametrize(
    ("command", "cwd"),
    [
        (["/no/such/program"], "/"),
        ([__file__], "/"),  # not executable
        ([sys.executable], "/no/such/directory"),
        (["nul\0byte"], "/"),
    ],
)
def test_a_command_that_cannot_be_executed_fails_at_once(command: list[str], cwd: str) -> None:
    before = descriptors()
    with pytest.raises(DestinationFailed, match="cannot be started"):
        Spawned(command, cwd)
    assert descriptors() == before


def test_letting_go_of_it_leaves_it_alive(spawning: Spawning) -> None:
    spawned = spawning("sys.stdout.flush(); import signal; signal.pause()")
    watch = os.pidfd_open(spawned.pid)
    spawned.close()
    spawned.kill()
    try:
        assert not spawned.running
        assert not readable(watch, within=0)
        os.kill(spawned.pid, signal.SIGKILL)
        assert readable(watch, within=PATIENCE)
        os.waitpid(spawned.pid, 0)
    finally:
        os.close(watch)


# -- the side that was spawned -----------------------------------------------------------------------


def test_without_the_variables_nothing_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.delenv(REPORT_VARIABLE, raising=False)
    assert (spawn.inherited_token(), spawn.inherited_report()) == ("", -1)


@pytest.mark.parametrize("text", ["", "nonsense", "-1", "999999", "²"])
def test_a_report_descriptor_that_is_none_is_no_matter(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(REPORT_VARIABLE, text)
    fd = spawn.inherited_report()
    assert fd == -1
    spawn.report(fd, HotswapError("nobody listens"))
    assert REPORT_VARIABLE not in os.environ


def test_a_report_has_code_and_message_and_is_bounded() -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    try:
        spawn.report(writer, ConfigError("x" * 100_000))
        told = msgspec.json.decode(os.read(reader, 65536), type=Report)
    finally:
        os.close(reader)
        os.close(writer)
    assert told.code == ConfigError.exit_code
    assert set(told.message) == {"x"}


def test_a_report_nobody_reads_is_no_matter() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    spawn.report(writer, HotswapError("gone"))
    os.close(writer)


def test_the_own_command_starts_this_program_again() -> None:
    command = spawn.own_command()
    assert command[0] == sys.executable
    assert command[1:] == sys.orig_argv[1:]
