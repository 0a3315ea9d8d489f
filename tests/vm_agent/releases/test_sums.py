from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.kit.programs import program
from vm_agent.errors import ReleaseError
from vm_agent.releases.sums import Checksums

ONE, TWO = "1" * 64, "2" * 64


def read(source: Path, text: str) -> Checksums:
    (source / "SHA256SUMS").write_text(text)
    return Checksums.read(source, "required")


def test_what_coreutils_write_is_read(source: Path) -> None:
    names = ["plain", "with space", "back\\slash", "new\nline", "ret\rurn", "ümlaut", "(odd) = name"]
    for name in names:
        (source / name).write_text(name)
    for options in ([], ["--binary"], ["--tag"]):
        said = subprocess.run(
            [program("sha256sum"), *options, "--", *names], cwd=source, capture_output=True, check=True
        ).stdout
        (source / "SHA256SUMS").write_bytes(said)
        sums = Checksums.read(source, "required")
        for name in names:
            sums.check(name, hashlib.sha256(name.encode()).hexdigest())


def test_paths_are_compared_in_their_shortest_form(source: Path) -> None:
    sums = read(source, f"{ONE}  ./a/../b\n{TWO}  dir//file\r\n\n")
    sums.check("b", ONE)
    assert sums.below("dir") == ["file"]


def test_a_wrong_sum_names_file_and_both_digests(source: Path) -> None:
    with pytest.raises(ReleaseError, match=f"(?s){source}/a.*expected sha256 {ONE}, found {TWO}; fetch"):
        read(source, f"{ONE}  a\n").check("a", TWO)


def test_a_file_that_is_not_listed_is_refused_once_there_is_a_list(source: Path) -> None:
    sums = read(source, f"{ONE}  a\n")
    assert not sums.lists("b")
    with pytest.raises(ReleaseError, match="does not list b"):
        sums.check("b", TWO)


def test_without_a_list_everything_passes_unless_it_is_required(source: Path) -> None:
    sums = Checksums.read(source, "if-present")
    assert not sums.present
    assert sums.lists("b")
    sums.check("b", TWO)
    with pytest.raises(ReleaseError, match=r"checksums: required.*sha256sum"):
        Checksums.read(source, "required")


@pytest.mark.parametrize("line", ["garbage", f"{ONE} a", f"{ONE[:-1]}  a", f"MD5 (a) = {ONE}", f"{ONE}  "])
def test_a_line_that_is_none_is_named_by_its_number(source: Path, line: str) -> None:
    with pytest.raises(ReleaseError, match="SHA256SUMS:2: "):
        read(source, f"{ONE}  a\n{line}\n")


def test_two_sums_for_one_file_are_refused(source: Path) -> None:
    with pytest.raises(ReleaseError, match="SHA256SUMS:2: a has two"):
        read(source, f"{ONE}  a\n{TWO}  ./a\n")


def test_bytes_that_are_no_text_are_a_path_like_any_other(source: Path) -> None:
    (source / "SHA256SUMS").write_bytes(ONE.encode() + b"  \xff\xfe\n")
    Checksums.read(source, "required").check("\udcff\udcfe", ONE)


def test_an_endless_list_is_not_read(source: Path) -> None:
    (source / "SHA256SUMS").symlink_to("/dev/zero")
    with pytest.raises(ReleaseError, match="longer than"):
        Checksums.read(source, "required")
