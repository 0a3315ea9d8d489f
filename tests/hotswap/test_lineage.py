from __future__ import annotations

import os
from pathlib import Path

import pytest

from hotswap import lineage
from hotswap.chain import Chain


def test_what_an_owner_wrote_down_is_known_to_a_cold_start(tmp_path: Path) -> None:
    lineage.write(tmp_path, Chain([], ["a/1", "b/1"], newest=7))
    chain = Chain()
    lineage.read(tmp_path, chain, "c/1")
    assert (chain.superseded, chain.newest) == (["a/1", "b/1"], 7)


def test_whoever_starts_cold_is_superseded_no_more(tmp_path: Path) -> None:
    lineage.write(tmp_path, Chain([], ["a/1", "b/1"]))
    chain = Chain()
    lineage.read(tmp_path, chain, "a/1")
    assert chain.superseded == ["b/1"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"newest": "many"}', b"\0" * 100_000])
def test_what_cannot_be_read_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / lineage.NAME).write_bytes(content)
    chain = Chain()
    lineage.read(tmp_path, chain, "a/1")
    assert chain == Chain()


def test_what_somebody_put_in_its_place_neither_leads_elsewhere_nor_keeps_anybody_waiting(tmp_path: Path) -> None:
    chain, elsewhere = Chain(), tmp_path / "elsewhere"
    lineage.write(tmp_path, Chain([], ["b/1"]))
    (tmp_path / lineage.NAME).rename(elsewhere)
    (tmp_path / lineage.NAME).symlink_to(elsewhere)
    lineage.read(tmp_path, chain, "a/1")
    lineage.forget(tmp_path)
    os.mkfifo(tmp_path / lineage.NAME)
    lineage.read(tmp_path, chain, "a/1")
    assert chain == Chain()


def test_a_directory_that_is_gone_is_no_reason_to_fail(tmp_path: Path) -> None:
    lineage.write(tmp_path / "gone", Chain())
    lineage.read(tmp_path / "gone", Chain(), "")
    lineage.forget(tmp_path / "gone")


def test_others_may_read_it_where_they_may_take_part(tmp_path: Path) -> None:
    for mode in (0o700, 0o2770):
        tmp_path.chmod(mode)
        lineage.write(tmp_path, Chain())
        assert (tmp_path / lineage.NAME).stat().st_mode & 0o777 == mode & 0o660
    lineage.forget(tmp_path)
    assert [*tmp_path.iterdir()] == []
