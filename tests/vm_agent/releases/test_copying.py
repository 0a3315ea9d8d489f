from __future__ import annotations

import hashlib
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from tests.vm_agent.releases import making
from vm_agent.errors import ReleaseError
from vm_agent.releases.copying import Stopped, copy_file, copy_tree

GO = threading.Event()


def test_a_tree_is_copied_with_its_links_and_without_its_rights(source: Path, tmp_path: Path) -> None:
    tree = making.directory(source, "1.0")
    (tree / "lib" / "code.py").chmod(0o666)
    (tree / "bin" / "again").symlink_to("hotswap")
    (tree / "lib64").symlink_to("lib")
    (tree / "lib").chmod(0o777)
    digests = copy_tree(tree, tmp_path / "copy", GO)
    assert digests == {
        str(path.relative_to(tree)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tree / "bin" / "hotswap", tree / "lib" / "code.py")
    }
    modes = {
        str(path.relative_to(tmp_path / "copy")): stat.S_IMODE(path.lstat().st_mode)
        for path in (tmp_path / "copy").rglob("*")
        if not path.is_symlink()
    }
    assert modes == {"bin": 0o755, "bin/hotswap": 0o755, "lib": 0o755, "lib/code.py": 0o644}
    assert str((tmp_path / "copy" / "bin" / "again").readlink()) == "hotswap"
    assert (tmp_path / "copy" / "lib64" / "code.py").exists()


@pytest.mark.parametrize(
    ("links", "culprit"),
    [
        ({"out": "/etc/passwd"}, "out"),
        ({"out": "../elsewhere"}, "out"),
        ({"lib/out": "../../elsewhere"}, "lib/out"),
        ({"deep": "lib/way", "lib/way": ".."}, None),  # both stay inside
        ({"a": "lib/..", "b": "a/../x"}, "b"),  # inside by its text, outside by where it leads
    ],
)
def test_links_that_lead_out_are_refused(
    source: Path, tmp_path: Path, links: dict[str, str], culprit: str | None
) -> None:
    tree = making.directory(source, "1.0")
    for path, text in links.items():
        (tree / path).symlink_to(text)
    if culprit is None:
        copy_tree(tree, tmp_path / "copy", GO)
    else:
        with pytest.raises(ReleaseError, match=f"{tree}/{culprit} is a symbolic link to {links[culprit]}, out of"):
            copy_tree(tree, tmp_path / "copy", GO)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_is_no_file_is_refused_and_not_waited_for(source: Path, tmp_path: Path, kind: str) -> None:
    tree = making.directory(source, "1.0")
    odd = tree / "odd"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(odd))
    with pytest.raises(ReleaseError, match="odd is a device, a pipe or a socket"):
        copy_tree(tree, tmp_path / "copy", GO)
    with pytest.raises(ReleaseError, match="odd is a device, a pipe or a socket"):
        copy_file(odd, tmp_path / "odd", GO)


@pytest.mark.all
def test_a_device_is_refused(source: Path, tmp_path: Path) -> None:
    tree = making.directory(source, "1.0")
    try:
        os.mknod(tree / "odd", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("devices can be made by root alone")
    with pytest.raises(ReleaseError, match="odd is a device, a pipe or a socket"):
        copy_tree(tree, tmp_path / "copy", GO)


@pytest.mark.parametrize("bit", [stat.S_ISUID, stat.S_ISGID])
def test_setuid_and_setgid_are_refused(source: Path, tmp_path: Path, bit: int) -> None:
    tree = making.directory(source, "1.0")
    (tree / "bin" / "hotswap").chmod(0o755 | bit)
    with pytest.raises(ReleaseError, match=r"setuid or setgid.*chmod ug-s"):
        copy_tree(tree, tmp_path / "copy", GO)


def test_a_link_in_the_place_of_a_release_is_refused(source: Path, tmp_path: Path) -> None:
    tree = making.directory(source, "1.0")
    (source / "2.0").symlink_to(tree)
    (source / "file").symlink_to(tree / "bin" / "hotswap")
    with pytest.raises(ReleaseError, match=r"2\.0 is a symbolic link"):
        copy_tree(source / "2.0", tmp_path / "copy", GO)
    with pytest.raises(ReleaseError, match="file is a symbolic link"):
        copy_file(source / "file", tmp_path / "copy", GO)


def test_endless_nesting_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "1.0" / "/".join("d" * 70)).mkdir(parents=True)
    with pytest.raises(ReleaseError, match="nested deeper"):
        copy_tree(source / "1.0", tmp_path / "copy", GO)


def test_a_copy_ends_when_it_is_not_wanted_any_more(source: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        copy_tree(making.directory(source, "1.0"), tmp_path / "copy", stop)
