"""`python -m hotswap.cli`: the same as the `hotswap` command."""

from __future__ import annotations

from hotswap.cli.main import main

main()
