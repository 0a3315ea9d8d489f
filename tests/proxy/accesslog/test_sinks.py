"""Sinks with real files, pipes and sockets."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
from pathlib import Path

import pytest

from hotswap.errors import ConfigError
from proxy.accesslog.sinks import PIPE_BUF, FileOutput, JournaldOutput, QueueSink, StdoutOutput, open_sink


class Held:
    """An output that does not get on until it is let."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.lines: list[bytes] = []

    def write(self, lines: list[bytes]) -> None:
        assert self.go.wait(10)
        self.lines += lines

    def reopen(self) -> None:
        self.lines.append(b"reopened")

    def close(self) -> None:
        self.lines.append(b"closed")


def numbered(count: int, begin: int = 0) -> list[bytes]:
    return [b"line %d\n" % number for number in range(begin, begin + count)]


def test_every_line_is_written_before_the_end(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "log"))
    early = numbered(10)
    for line in early:
        sink.put(line)  # before it is started: an inert generation writes nothing
    assert (tmp_path / "log").read_bytes() == b""
    sink.start()
    late = numbered(1000, 10)
    for line in late:
        sink.put(line)
    sink.close()
    assert (tmp_path / "log").read_bytes() == b"".join(early + late)


def test_two_generations_write_to_one_file_without_tearing_lines(tmp_path: Path) -> None:
    sinks = [QueueSink("log", FileOutput(str(tmp_path / "log")), interval=0.001) for _ in range(2)]
    lines = [b"%d" % number * 50 + b"\n" for number in range(4000)]
    for sink in sinks:
        sink.start()
    for number, line in enumerate(lines):
        sinks[number % 2].put(line)
    for sink in sinks:
        sink.close()
    assert sorted((tmp_path / "log").read_bytes().splitlines(keepends=True)) == sorted(lines)


def test_reopened_file_takes_what_comes_later(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "log"))
    sink.start()
    sink.put(b"one\n")
    (tmp_path / "log").rename(tmp_path / "old")
    sink.flush()
    sink.reopen()
    sink.put(b"two\n")
    sink.close()
    found = (tmp_path / "old").read_bytes() + (tmp_path / "log").read_bytes()
    assert found == b"one\ntwo\n"


def test_file_renamed_while_its_generation_was_inert_is_opened_anew(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "log"))
    (tmp_path / "log").rename(tmp_path / "old")
    sink.start()
    sink.put(b"one\n")
    sink.close()
    # What was put before the thread looked may be in either file, and is in one.
    assert b"one\n" in {(tmp_path / "old").read_bytes(), (tmp_path / "log").read_bytes()}
    assert (tmp_path / "log").exists()


def test_slow_output_holds_up_nobody_and_drops_are_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    output = Held()
    sink = QueueSink("slow", output, interval=0.001, limit=100)
    sink.start()
    for line in numbered(50):
        sink.put(line)
    assert sink.status()["waiting"] <= 100
    dropped = sink.status()["dropped"]
    assert dropped == 50 - 13
    output.go.set()
    with caplog.at_level(logging.WARNING, "proxy"):
        sink.close()
    assert [line for line in output.lines if line.startswith(b"line")] == numbered(13)
    assert "access log lines dropped" in caplog.text
    assert sink.status() == {"waiting": 0, "dropped": dropped}


def test_full_disk_loses_lines_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    sink = open_sink("/dev/full")
    sink.start()
    sink.put(b"one\n")
    with caplog.at_level(logging.WARNING, "proxy"):
        sink.close()
    assert sink.status() == {"waiting": 0, "dropped": 1}
    assert "access log lines dropped" in caplog.text


def test_line_that_the_disk_cut_off_is_not_continued_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = FileOutput(str(tmp_path / "log"))
    real, calls = os.write, []

    def full(fd: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) == 1:
            return real(fd, data[:6])
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="no space"):
        output.write([b"one\n", b"two\n"])
    monkeypatch.undo()
    output.write([b"three\n"])
    output.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntw\nthree\n"


def test_pipe_gets_pieces_that_it_keeps_together(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    sizes: list[int] = []
    real = os.write

    def counted(fd: int, data: bytes) -> int:
        sizes.append(len(data))
        return real(fd, data)

    lines = [b"x" * 999 + b"\n"] * 10
    monkeypatch.setattr(os, "write", counted)
    StdoutOutput(writing).write(lines)
    monkeypatch.undo()
    assert os.read(reading, 100_000) == b"".join(lines)
    assert max(sizes) <= PIPE_BUF
    assert all(size % 1000 == 0 for size in sizes)
    os.close(reading)
    os.close(writing)


def test_journald_gets_a_datagram_a_line_and_may_be_restarted(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as first:
        first.bind(path)
        output = JournaldOutput(path)
        output.write([b"one\n", b"two\n"])
        assert first.recv(1000) == b"MESSAGE=one\nPRIORITY=6\nSYSLOG_IDENTIFIER=hotswap\n"
        assert first.recv(1000) == b"MESSAGE=two\nPRIORITY=6\nSYSLOG_IDENTIFIER=hotswap\n"
    Path(path).unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
        second.bind(path)
        output.write([b"three\n"])
        assert second.recv(1000).startswith(b"MESSAGE=three\n")
    output.close()


def test_target_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or directory; write another target"):
        open_sink(str(tmp_path / "missing" / "log"))
