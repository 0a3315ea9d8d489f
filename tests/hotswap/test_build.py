from __future__ import annotations

import re
import struct
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hotswap import __version__
from hotswap.build import fingerprint, of_program


@pytest.fixture
def package(tmp_path: Path) -> Path:
    made = tmp_path / "one" / "package"
    (made / "inner").mkdir(parents=True)
    (made / "a.py").write_text("a = 1\n")
    (made / "inner" / "b.py").write_text("b = 1\n")
    return made


def test_it_begins_with_the_version(package: Path) -> None:
    assert re.fullmatch(re.escape(__version__) + r"\+[0-9a-f]{12}", fingerprint([package]))
    assert fingerprint([package], "9.9").startswith("9.9+")


def test_the_same_code_elsewhere_is_the_same_build(package: Path, tmp_path: Path) -> None:
    before = fingerprint([package])
    (tmp_path / "two").mkdir()
    moved = package.rename(tmp_path / "two" / "package")
    assert fingerprint([moved]) == before


@pytest.mark.parametrize("change", ["content", "name", "new", "extension module"])
def test_other_code_is_another_build(package: Path, change: str) -> None:
    before = fingerprint([package])
    if change == "content":
        (package / "inner" / "b.py").write_text("b = 2\n")
    elif change == "name":
        (package / "a.py").rename(package / "c.py")
    elif change == "new":
        (package / "inner" / "c.py").touch()
    else:
        (package / "fast.so").write_bytes(b"\x7fELF")
    assert fingerprint([package]) != before


def test_what_is_no_code_does_not_count(package: Path) -> None:
    before = fingerprint([package])
    (package / "py.typed").touch()
    (package / "a.pyc").write_bytes(b"cache")
    assert fingerprint([package]) == before


def test_content_cannot_move_from_one_file_to_another_unnoticed(package: Path) -> None:
    before = fingerprint([package])
    (package / "a.py").write_text("b = 1\n")
    (package / "inner" / "b.py").write_text("a = 1\n")
    assert fingerprint([package]) != before


def test_a_change_far_behind_in_a_file_counts(package: Path) -> None:
    (package / "long.py").write_text("#" * 200_000 + "\na = 1\n")
    before = fingerprint([package])
    (package / "long.py").write_text("#" * 200_000 + "\na = 2\n")
    assert fingerprint([package]) != before


def test_of_an_extension_module_the_build_id_counts(package: Path) -> None:
    """Linkers put it near the beginning; the rest need not be read."""
    module = package / "fast.so"
    note = struct.pack("<III4s", 4, 20, 3, b"GNU\0")

    def of(identity: bytes, rest: bytes) -> str:
        module.write_bytes(b"\x7fELF" + bytes(600) + note + identity + bytes(5000) + rest)
        return fingerprint([package])

    before = of(b"a" * 20, b"rest")
    assert of(b"a" * 20, b"seal") == before
    assert of(b"a" * 19 + b"b", b"rest") != before


def test_an_extension_module_without_one_counts_whole(package: Path) -> None:
    module = package / "fast.so"
    module.write_bytes(b"\x7fELF" + bytes(100_000) + b"1")
    before = fingerprint([package])
    module.write_bytes(b"\x7fELF" + bytes(100_000) + b"2")
    assert fingerprint([package]) != before


def test_a_program_is_another_build_when_its_file_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = ModuleType("__main__")
    program.__file__ = str(tmp_path / "server.py")
    monkeypatch.setitem(sys.modules, "__main__", program)
    assert of_program("1.0") == "1.0"
    Path(program.__file__).write_text("a = 1\n")
    before = of_program("1.0")
    assert re.fullmatch(r"1\.0\+[0-9a-f]{12}", before)
    assert of_program("1.0") == before
    Path(program.__file__).write_text("a = 2\n")
    assert of_program("1.0") != before


def test_a_program_without_a_file_has_only_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    assert of_program("1.0") == "1.0"
