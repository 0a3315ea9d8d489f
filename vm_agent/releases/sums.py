r"""The checksums of what lies in the source directory, as ``sha256sum`` of the coreutils writes and checks them.

    SHA256SUMS      one line for each file, paths relative to the directory that it lies in
    <64 hex digits><space><space or *><path>
    \<64 hex digits><space><space or *><path with \\ for a backslash, \n and \r>
    SHA256 (<path>) = <64 hex digits>           the format of ``sha256sum --tag``

For a release that is a directory there is a line for every file below it:

    cd SOURCE && find * -type f ! -name SHA256SUMS -print0 | xargs -0 sha256sum > SHA256SUMS
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from vm_agent.errors import ReleaseError

NAME = "SHA256SUMS"
_MAKE = f"find * -type f ! -name {NAME} -print0 | xargs -0 sha256sum > {NAME}"
_LARGEST = 16 << 20  # bytes of the file
_PLAIN = re.compile(r"(?P<escaped>\\?)(?P<digest>[0-9a-fA-F]{64}) [ *](?P<path>.+)")
_TAGGED = re.compile(r"(?P<escaped>\\?)SHA256 \((?P<path>.+)\) = (?P<digest>[0-9a-fA-F]{64})")
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


class Checksums:
    """What each file's SHA-256 is to be. Without the file SHA256SUMS, and if that may be, everything passes."""

    def __init__(self, file: Path, digests: Mapping[str, str] | None) -> None:
        self.file = file
        self._digests = digests

    @classmethod
    def read(cls, source: Path, policy: Literal["required", "if-present"]) -> Checksums:
        """Raises `ReleaseError` if it is required and missing, or cannot be read; with file and line."""
        file = source / NAME
        try:
            with file.open("rb") as stream:
                raw = stream.read(_LARGEST + 1)
        except FileNotFoundError:
            if policy == "required":
                raise ReleaseError(
                    f"{file} is missing, and agent.yaml says `releases.checksums: required`; "
                    f"make it with: cd {source} && {_MAKE}"
                ) from None
            return cls(file, None)
        if len(raw) > _LARGEST:
            raise ReleaseError(f"{file} is longer than {_LARGEST >> 20} MiB: that is no list of checksums")
        return cls(file, _parse(file, raw))

    @property
    def present(self) -> bool:
        """There is a list, and so everything that is used must be in it."""
        return self._digests is not None

    def lists(self, path: str) -> bool:
        """This file may be used, as far as the list knows it."""
        return self._digests is None or path in self._digests

    def below(self, directory: str) -> list[str]:
        """The listed paths below this directory, relative to it."""
        start = f"{directory}/"
        return [path.removeprefix(start) for path in self._digests or () if path.startswith(start)]

    def check(self, path: str, found: str) -> None:
        """Raise `ReleaseError` if the file's digest is not the one that is listed."""
        if self._digests is None:
            return
        expected = self._digests.get(path)
        if expected is None:
            raise ReleaseError(
                f"{self.file} does not list {path} (found: sha256 {found}); "
                "if the file is what you mean to install, add its line with sha256sum, else remove the file"
            )
        if expected != found:
            raise ReleaseError(
                f"{self.file.parent / path} is not what {NAME} says: expected sha256 {expected}, found {found}; "
                f"fetch the file again, and {NAME} with it, from where the release is published"
            )


def _parse(file: Path, raw: bytes) -> dict[str, str]:
    digests: dict[str, str] = {}
    for number, line in enumerate(raw.decode("utf-8", "surrogateescape").split("\n"), 1):
        line = line.removesuffix("\r")
        if not line.strip():
            continue
        match = _PLAIN.fullmatch(line) or _TAGGED.fullmatch(line)
        if match is None:
            raise ReleaseError(f"{file}:{number}: not a line of sha256sum: {line[:80]!r}; write the file anew with it")
        path = match["path"]
        if match["escaped"]:
            path = re.sub(r"\\[\\nr]", lambda escape: _ESCAPES[escape[0]], path)
        path = posixpath.normpath(path)
        digest = match["digest"].lower()
        if digests.setdefault(path, digest) != digest:
            raise ReleaseError(
                f"{file}:{number}: {path} has two different checksums; write the file anew with sha256sum"
            )
    return digests
