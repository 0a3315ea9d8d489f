"""Change the release in a spec file and leave everything else as its author wrote it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from vm_agent.errors import SpecError
from vm_agent.files import write_whole
from vm_agent.spec.model import Spec

_RELEASE = re.compile(r"^(?P<key>release[ \t]*:[ \t]*)(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s#]+)", re.MULTILINE)
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


def with_release(spec: Spec, release: str) -> None:
    """Write `release` into the file of this spec, whole or not at all. Raises `SpecError`."""
    if _VERSION.fullmatch(release) is None:
        raise SpecError(f"{release!r} is no release: write one path component, such as 1.4.2")
    file = Path(os.path.realpath(spec.file))  # a link stays one
    try:
        text = file.read_text()
        found = _RELEASE.findall(text)
        if len(found) != 1:
            raise SpecError(f"{file}: release: cannot be changed here; edit the file, then `hotswap-agent apply`")
        changed = _RELEASE.sub(lambda match: f'{match["key"]}"{release}"', text)
        if _read(changed) != {**_read(text), "release": release}:  # an anchor, say, or a word in a long text
            raise SpecError(f"{file}: release: cannot be changed here; edit the file, then `hotswap-agent apply`")
        state = file.stat()
        write_whole(file, changed.encode(), state.st_mode & 0o777, (state.st_uid, state.st_gid))
    except OSError as error:
        raise SpecError(f"{file}: cannot be changed: {error.strerror}; edit it, then `hotswap-agent apply`") from None


def _read(text: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}
