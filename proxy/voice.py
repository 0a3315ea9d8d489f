"""How the program was started, as far as other processes of the same generation do alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from hotswap.log import LogFormat


class Voice(NamedTuple):
    """What its log is like, and whether it keeps privileges."""

    log_format: LogFormat = "text"
    log_level: str = "info"
    drop_privileges: bool = False
