"""Logging: what a line looks like, and that it never waits for its reader."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sys
from collections.abc import Iterator

import msgspec
import pytest

from hotswap import log
from hotswap.log import JsonFormatter, Once, Origin, Output, TextFormatter, fields

EDGE = Origin("edge", 4)


def record(text: str, level: int = logging.INFO, **values: object) -> logging.LogRecord:
    made = logging.LogRecord("hotswap.test", level, __file__, 1, text, None, None)
    made.__dict__.update(fields(**values))
    return made


def test_text_is_for_people() -> None:
    line = TextFormatter(EDGE, colours=False).format(
        record("listening", address="127.0.0.1:80", why="two words", n=1.5)
    )
    assert re.fullmatch(
        r'\d\d:\d\d:\d\d\.\d{3} INFO    edge#4 listening  address=127.0.0.1:80 why="two words" n=1.5', line
    )


def test_a_process_without_a_number_yet() -> None:
    assert " edge hello" in TextFormatter(Origin("edge", 0), colours=False).format(record("hello"))
    assert "INFO    hello" in TextFormatter(Origin(), colours=False).format(record("hello"))


def test_what_strangers_sent_drives_no_terminal() -> None:
    line = TextFormatter(EDGE, colours=False).format(record("got \x1b[2J\nINFO fake", path="\x1b]0;x\x07"))
    assert line.isprintable()


def test_colours_are_for_terminals() -> None:
    shown = TextFormatter(EDGE, colours=True).format(record("bad", logging.ERROR, a=1))
    assert "\x1b[31m" in shown
    assert "\x1b" not in TextFormatter(EDGE, colours=False).format(record("bad", logging.ERROR, a=1))


def test_json_lines_are_for_programs() -> None:
    made = record("it\nbroke", logging.ERROR, path=EDGE, count=3, message="not this one")
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        made.exc_info = sys.exc_info()
    line = JsonFormatter(EDGE).format(made)
    assert "\n" not in line
    told = msgspec.json.decode(line)
    assert told["message"] == "it\nbroke"
    assert (told["level"], told["name"], told["generation"], told["count"]) == ("error", "edge", 4, 3)
    assert "RuntimeError: a bug" in told["traceback"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told["time"])


def test_text_ends_with_the_traceback() -> None:
    made = record("it broke", logging.ERROR)
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        made.exc_info = sys.exc_info()
    assert TextFormatter(EDGE, colours=False).format(made).endswith("RuntimeError: a bug")


# -- the output ------------------------------------------------------------------------------------


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(reader, False)
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            pass  # the test did


def read(fd: int) -> bytes:
    pieces = []
    while True:
        try:
            piece = os.read(fd, 65536)
        except BlockingIOError:
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces)


def test_a_reader_that_does_not_read_blocks_nobody(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Output(writer, backlog_limit=10_000)
    for number in range(1000):
        output.emit(record(f"line {number} {'x' * 50}"))
    assert output.dropped > 0
    dropped = output.dropped
    told = b""
    again = 0
    while b"dropped here" not in told:
        told += read(reader)
        output.emit(record("again"))
        again += 1
        assert again < 1000
    told += read(reader)
    lines = told.decode().splitlines()
    assert lines[0].startswith("line 0 ")
    assert f"... {dropped} log lines dropped here: nobody read them in time" in lines
    assert lines[-1] == "again"
    assert len([line for line in lines if line.startswith("line ")]) == 1000 - dropped


def test_a_line_longer_than_the_pipe_arrives_whole(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Output(writer)
    output.emit(record("y" * 20_000))
    told = read(reader)
    while len(told) < 20_001:
        output.emit(record("z"))
        told += read(reader)
    assert told.startswith(b"y" * 20_000 + b"\n")


def test_a_reader_that_is_gone_is_no_error(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Output(writer)
    os.close(reader)
    for _ in range(3):
        output.emit(record("hello"))
    output.flush()


def test_a_message_that_cannot_be_formatted_breaks_nothing(
    pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    output = Output(pipe[1])
    made = record("%d")
    made.args = ("not a number",)
    output.emit(made)
    assert "not a number" in capsys.readouterr().err


def test_set_up_logs_to_the_descriptor(pipe: tuple[int, int]) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    root.handlers.clear()
    try:
        log.set_up("json", "warning", fd=pipe[1])
        log.say_who("edge", 7)
        logging.getLogger("hotswap.test").info("not this")
        logging.getLogger("hotswap.test").warning("this", extra=fields(key="value"))
        told = msgspec.json.decode(read(pipe[0]))
    finally:
        log.say_who("", 0)
        root.handlers[:] = before
        root.setLevel(level)
    assert (told["message"], told["key"], told["generation"], told["name"]) == ("this", "value", 7, "edge")


# -- once ------------------------------------------------------------------------------------------


def test_a_stranger_is_logged_once_an_hour() -> None:
    once = Once()
    assert once.first("a", now=0.0)
    assert not once.first("a", now=10.0)
    assert once.first("b", now=10.0)
    assert once.first("a", now=3600.0)


def test_too_many_strangers_are_forgotten_not_remembered_without_bound() -> None:
    once = Once()
    for number in range(5000):
        assert once.first(number, now=0.0)
    assert len(once._seen) <= log.STRANGERS_LIMIT
