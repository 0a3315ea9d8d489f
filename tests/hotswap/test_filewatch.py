"""Files that change, by the ways in which certificates are renewed, and the word that comes of it."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from hotswap import filewatch
from hotswap.filewatch import FileWatch, places
from tests.hotswap.watching import Told, end
from tests.kit.descriptors import descriptors

Change = Callable[[Path], None]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filewatch, "PAUSE", 0.02)


def watched(paths: list[Path], story: Callable[[FileWatch, Told], Coroutine[Any, Any, None]]) -> None:
    """Play a story while these files are watched; the first word, which always comes, is over."""

    async def play() -> None:
        told = Told()
        one = FileWatch(told)
        one.follow(map(str, paths))
        one.start()
        await told.again()
        try:
            await story(one, told)
        finally:
            end(one)

    asyncio.run(play())


def kubernetes(folder: Path) -> Path:
    """As kubelet lays out a Secret."""
    (folder / "..one").mkdir()
    (folder / "..one" / "tls.crt").write_text("one")
    (folder / "..data").symlink_to("..one")
    (folder / "tls.crt").symlink_to("..data/tls.crt")
    return folder / "tls.crt"


def kubelet_renews(path: Path) -> None:
    folder = path.parent
    (folder / "..two").mkdir()
    (folder / "..two" / "tls.crt").write_text("two")
    (folder / "..data_tmp").symlink_to("..two")
    (folder / "..data_tmp").rename(folder / "..data")
    (folder / "..one" / "tls.crt").unlink()
    (folder / "..one").rmdir()


def certbot(folder: Path) -> Path:
    """As certbot does: a link in one directory to a file in another."""
    for name in ("live", "archive"):
        (folder / name).mkdir()
    (folder / "archive" / "cert1.pem").write_text("one")
    (folder / "live" / "cert.pem").symlink_to("../archive/cert1.pem")
    return folder / "live" / "cert.pem"


def certbot_renews(path: Path) -> None:
    (path.parent.parent / "archive" / "cert2.pem").write_text("two")
    path.unlink()
    path.symlink_to("../archive/cert2.pem")


def plain(folder: Path) -> Path:
    (folder / "cert.pem").write_text("one")
    return folder / "cert.pem"


def renamed_over(path: Path) -> None:
    path.with_suffix(".new").write_text("two")
    path.with_suffix(".new").rename(path)


def in_a_directory(folder: Path) -> Path:
    (folder / "tls").mkdir()
    return plain(folder / "tls")


def directory_exchanged(path: Path) -> None:
    fresh = path.parent.with_name("fresh")
    fresh.mkdir()
    (fresh / path.name).write_text("two")
    path.parent.rename(path.parent.with_name("old"))
    fresh.rename(path.parent)


def behind_a_link_to_a_directory(folder: Path) -> Path:
    (folder / "v1").mkdir()
    plain(folder / "v1")
    (folder / "current").symlink_to("v1")
    return folder / "current" / "cert.pem"


def link_turned(path: Path) -> None:
    folder = path.parent.parent
    (folder / "v2").mkdir()
    (folder / "v2" / path.name).write_text("two")
    (folder / "next").symlink_to("v2")
    (folder / "next").rename(folder / "current")


@pytest.mark.parametrize(
    ("lay_out", "renew"),
    [
        pytest.param(plain, lambda path: path.write_text("two"), id="written in place"),
        pytest.param(plain, renamed_over, id="another file in its place"),
        pytest.param(kubernetes, kubelet_renews, id="kubernetes"),
        pytest.param(certbot, certbot_renews, id="certbot"),
        pytest.param(in_a_directory, directory_exchanged, id="another directory in its place"),
        pytest.param(behind_a_link_to_a_directory, link_turned, id="link to a directory turned"),
    ],
)
def test_every_way_of_renewal_is_noticed_again_and_again(
    tmp_path: Path, lay_out: Callable[[Path], Path], renew: Change
) -> None:
    path = lay_out(tmp_path)
    assert path.read_text() == "one"

    async def story(_one: FileWatch, told: Told) -> None:
        renew(path)
        await told.again()
        assert path.read_text() == "two"
        path.write_text("three")  # in the place where it is now
        await told.again()

    watched([path], story)


def test_file_that_goes_and_comes_is_noticed_both_times(tmp_path: Path) -> None:
    path = plain(tmp_path)

    async def story(_one: FileWatch, told: Told) -> None:
        path.unlink()
        await told.again()
        path.write_text("two")
        await told.again()

    watched([path], story)


def test_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "cert.pem"

    async def story(_one: FileWatch, told: Told) -> None:
        for step in (path.parent.parent.mkdir, path.parent.mkdir, path.touch):
            step()
            await told.again()

    watched([path], story)


def test_permission_that_is_mended_is_noticed(tmp_path: Path) -> None:
    path = plain(tmp_path)

    async def story(_one: FileWatch, told: Told) -> None:
        path.chmod(0o600)
        await told.again()

    watched([path], story)


def test_other_files_beside_it_do_not_matter(tmp_path: Path) -> None:
    path = plain(tmp_path)

    async def story(_one: FileWatch, told: Told) -> None:
        (tmp_path / "else.pem").write_text("x")
        words = told.words
        path.write_text("two")  # comes behind the other, so the other is over
        await told.again()
        assert told.words == words + 1

    watched([path], story)


def test_many_changes_at_once_are_one_word(tmp_path: Path) -> None:
    one, other = plain(tmp_path), tmp_path / "key.pem"
    other.write_text("one")

    async def story(_one: FileWatch, told: Told) -> None:
        words = told.words
        for path in (one, other) * 20:
            path.write_text("two")
        await told.again()
        assert told.words == words + 1

    watched([one, other], story)


def test_word_comes_at_every_start_for_what_changed_before(tmp_path: Path) -> None:
    path = plain(tmp_path)

    async def story(one: FileWatch, told: Told) -> None:
        one.stop()
        path.write_text("two")
        one.start()
        await told.again()

    watched([path], story)


def test_stopped_watch_says_nothing_and_takes_no_second_descriptor(tmp_path: Path) -> None:
    path = plain(tmp_path)

    async def story(one: FileWatch, told: Told) -> None:
        before = descriptors()
        for _ in range(3):
            one.stop()
            one.stop()
            path.write_text("two")
            assert one._timer is None
            one.start()
            one.start()
            await told.again()
        assert descriptors() == before

    watched([path], story)


def test_start_and_stop_take_no_time(tmp_path: Path) -> None:
    """Both are part of a handover's downtime. Closing what inotify gave took 11 ms."""
    path = plain(tmp_path)

    async def story(one: FileWatch, _told: Told) -> None:
        took = []
        for _ in range(50):
            began = time.perf_counter()
            one.stop()
            one.start()
            took.append(time.perf_counter() - began)
        assert min(took) < 0.002  # whoever else has the processor does not have it every time

    watched([path], story)


def test_files_that_come_with_a_reload_are_watched(tmp_path: Path) -> None:
    path = plain(tmp_path)

    async def story(one: FileWatch, told: Told) -> None:
        one.follow([])
        await told.again()
        one.follow([str(path)])
        await told.again()
        path.write_text("two")
        await told.again()

    watched([path], story)


def test_watch_that_began_with_nothing_takes_what_comes(tmp_path: Path) -> None:
    path = plain(tmp_path)

    async def play() -> None:
        told = Told()
        one = FileWatch(told)
        one.follow([])
        one.start()
        assert one._timer is None
        one.follow([str(path)])
        await told.again()
        path.write_text("two")
        await told.again()
        end(one)

    asyncio.run(play())


def test_nothing_to_follow_takes_no_descriptor_and_no_loop() -> None:
    one = FileWatch(lambda: None)
    one.follow([])
    one.start()
    one.stop()


def test_other_files_from_now_on(tmp_path: Path) -> None:
    path, other = plain(tmp_path), tmp_path / "other.pem"

    async def story(one: FileWatch, told: Told) -> None:
        one.follow([str(other)])
        await told.again()
        words = told.words
        path.write_text("two")
        other.write_text("one")
        await told.again()
        assert told.words == words + 1

    watched([path], story)


def test_without_inotify_people_are_told_and_the_first_word_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """EMFILE: a user has 128 instances by default."""

    class NoMore:
        @staticmethod
        def inotify_init1(_flags: int) -> int:
            ctypes.set_errno(24)
            return -1

    monkeypatch.setattr(filewatch, "_libc", NoMore)
    path = plain(tmp_path)

    async def story(_one: FileWatch, told: Told) -> None:
        assert told.words == 1

    with caplog.at_level(logging.WARNING):
        watched([path], story)
    (record,) = caplog.records
    assert "`hotswap reload` reads them" in record.getMessage()
    assert vars(record)["fields"]["reason"] == "too many open files"


def test_lost_events_count_as_a_change(tmp_path: Path) -> None:
    path = plain(tmp_path)

    async def story(one: FileWatch, told: Told) -> None:
        read_end, write_end = os.pipe()
        real, one._fd = one._fd, read_end
        os.write(write_end, filewatch._EVENT.pack(-1, 0x4000, 0, 0))  # IN_Q_OVERFLOW
        one._read()
        one._fd = real
        os.close(read_end)
        os.close(write_end)
        await told.again()

    watched([path], story)


# ---- which places matter ----


def test_place_of_a_plain_file_is_its_directory(tmp_path: Path) -> None:
    assert places(str(tmp_path / "cert.pem")) == [(str(tmp_path), "cert.pem")]


def test_places_are_those_of_every_link_on_the_way_and_of_the_file(tmp_path: Path) -> None:
    path = kubernetes(tmp_path)
    folder = str(tmp_path)
    assert places(str(path)) == [(folder, "tls.crt"), (folder, "..data"), (f"{folder}/..one", "tls.crt")]


def test_place_of_something_missing_is_where_it_should_appear(tmp_path: Path) -> None:
    assert places(str(tmp_path / "a" / "b" / "c")) == [(str(tmp_path), "a")]


def test_absolute_links_and_steps_upwards_are_followed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "link").symlink_to(tmp_path / "two")
    path = f"{tmp_path}/one/../one/link/../two/./cert.pem"
    assert places(path) == [(f"{tmp_path}/one", "link"), (f"{tmp_path}/two", "cert.pem")]


def test_links_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    found = places(str(tmp_path / "a"))
    assert set(found) == {(str(tmp_path), "a"), (str(tmp_path), "b")}
