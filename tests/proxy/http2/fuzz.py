"""The decoder under libFuzzer, by hand: ``python -m tests.proxy.http2.fuzz -max_total_time=60``; needs atheris.

Seeds are the lines of `corpus.txt`. An input is what a client sends if its first byte is odd, else what a server sends,
on a connection in use, in pieces as long as its second byte says. What must hold is what `test_any_input` asks for.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

with atheris.instrument_imports(include=["proxy.http2"]):
    from tests.proxy.http2.test_any_input import CORPUS, feed, ready


def one_input(octets: bytes) -> None:
    """Feed it."""
    if len(octets) > 2:
        feed(ready(octets[0] & 1), octets[2:], 1 + octets[1], moves=bool(octets[0] & 2))


def main() -> None:
    """Run until libFuzzer has enough."""
    with tempfile.TemporaryDirectory() as folder:
        for name, octets in CORPUS.items():
            for kind in (0, 1):
                (Path(folder) / f"{name}-{kind}").write_bytes(bytes((kind, 200)) + octets)
        atheris.Setup([*sys.argv, folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
