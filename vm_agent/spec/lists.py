"""The kinds of keys in specs that take lists and mappings of plain values. See `hotswap.settings.kinds`."""

from __future__ import annotations

import re

import msgspec

from hotswap.settings.document import Mapping, Node, Scalar, Sequence, described, text_of
from hotswap.settings.kinds import MOST_ITEMS, Count, Schema
from hotswap.settings.problems import Unfit, nearest, shown

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_VALUE = re.compile(r"[^\x00-\x1f\x7f]{0,4096}")
_WORD = re.compile(r"[^\x00-\x1f\x7f]{1,4096}")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
PLACEHOLDERS = ("{config}", "{name}", "{runtime_dir}")
OURS = (
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "MAINPID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
)
"""Variables that whatever runs the sidecar sets: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3)."""

_CAPABILITIES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
    SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
    MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
CAPABILITIES = tuple(f"CAP_{name}" for name in _CAPABILITIES.split())
"""capabilities(7), in the order of their numbers."""


def _items(node: Node, wanted: str, *, empty: bool = False) -> list[Node]:
    if not isinstance(node, Sequence) or not (node.items or empty):
        raise Unfit(f"{described(node)} stands here; write a list of {wanted}")
    if len(node.items) > MOST_ITEMS:
        raise Unfit(f"the list has {len(node.items)} items; write {MOST_ITEMS} at most")
    return node.items


class Ports(msgspec.Struct, frozen=True):
    """Ports, each once; one alone needs no list."""

    name: str = "list of ports"

    def read(self, node: Node) -> tuple[int, ...]:
        """See `Kind`."""
        items = [node] if isinstance(node, Scalar) else _items(node, "ports such as [80, 443]")
        ports = tuple(Count(1, 65535).read(item) for item in items)
        repeated = next((port for port in ports if ports.count(port) > 1), None)
        if repeated is not None:
            raise Unfit(f"{repeated} stands here twice; write each port once")
        return ports

    def schema(self) -> Schema:
        """See `Kind`."""
        one = Count(1, 65535).schema()
        return {"oneOf": [one, {"type": "array", "minItems": 1, "maxItems": MOST_ITEMS, "items": one}]}

    def show(self, value: tuple[int, ...]) -> str:
        """See `Kind`."""
        return f"[{', '.join(map(str, value))}]"


class Capabilities(msgspec.Struct, frozen=True):
    """Capabilities by name; the empty list is none."""

    name: str = "list of capabilities"

    def read(self, node: Node) -> tuple[str, ...]:
        """See `Kind`."""
        found: list[str] = []
        for item in _items(node, f"capabilities such as [{CAPABILITIES[10]}], or [] for none", empty=True):
            text = text_of(item, f"a capability such as {CAPABILITIES[10]}")
            if text not in CAPABILITIES:
                upper = text.upper()
                meant = nearest(upper if upper.startswith("CAP_") else f"CAP_{upper}", CAPABILITIES)
                remedy = f"did you mean {meant}?" if meant else "they are listed in capabilities(7)"
                raise Unfit(f"{shown(text)} is not a capability; {remedy}")
            if text in found:
                raise Unfit(f"{text} stands here twice; write each once")
            found.append(text)
        return tuple(found)

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "array", "uniqueItems": True, "items": {"enum": list(CAPABILITIES)}}

    def show(self, value: tuple[str, ...]) -> str:
        """See `Kind`."""
        return f"[{', '.join(value)}]"


class Environment(msgspec.Struct, frozen=True):
    """Variables and their values, in the order of their names."""

    name: str = "mapping of variable to text"

    def read(self, node: Node) -> tuple[tuple[str, str], ...]:
        """See `Kind`."""
        if not isinstance(node, Mapping):
            raise Unfit(f"{described(node)} stands here; write variables such as {{TZ: UTC}}")
        if node.repeated:
            raise Unfit(f"{node.repeated[0][1]} stands here twice; write each variable once")
        if len(node.entries) > MOST_ITEMS:
            raise Unfit(f"these are {len(node.entries)} variables; write {MOST_ITEMS} at most")
        return tuple(sorted((name, self._value(name, value)) for name, (_, value) in node.entries.items()))

    @staticmethod
    def _value(name: str, node: Node) -> str:
        if not _VARIABLE.fullmatch(name):
            raise Unfit(f"{shown(name)} is not a variable; write letters, digits and _, the first no digit")
        if name in OURS:
            raise Unfit(f"{name} is set by what runs the sidecar; remove it")
        try:
            text = text_of(node, "a text")
        except Unfit as error:
            raise Unfit(f"{name}: {error}") from None
        if not _VALUE.fullmatch(text):
            raise Unfit(f"{name}: {shown(text)} does not fit; write one line of 4096 characters at most")
        return text

    def schema(self) -> Schema:
        """See `Kind`."""
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{_VARIABLE.pattern}$"},
            "additionalProperties": {"type": "string"},
        }

    def show(self, value: tuple[tuple[str, str], ...]) -> str:
        """See `Kind`."""
        return "{" + ", ".join(f"{name}: {text}" for name, text in value) + "}"


class Command(msgspec.Struct, frozen=True):
    """A program in the release's directory, and its arguments."""

    name: str = "list of words"

    def read(self, node: Node) -> tuple[str, ...]:
        """See `Kind`."""
        words = tuple(self._word(item) for item in _items(node, "words such as [bin/hotswap, run, -c, '{config}']"))
        program = words[0].split("/")
        if "" in program or ".." in program or "{" in words[0]:
            raise Unfit(f"{shown(words[0])} is not in the release; write a path in its directory such as bin/hotswap")
        return words

    @staticmethod
    def _word(node: Node) -> str:
        text = text_of(node, "a word")
        if not _WORD.fullmatch(text):
            raise Unfit(f"{shown(text)} does not fit; write one line of 1 to 4096 characters")
        unknown = next((found for found in _PLACEHOLDER.findall(text) if found not in PLACEHOLDERS), None)
        if unknown is not None:
            meant = nearest(unknown, PLACEHOLDERS)
            raise Unfit(
                f"{shown(unknown)} is not filled in; "
                + (f"did you mean {meant}?" if meant else f"what is are {', '.join(PLACEHOLDERS)}")
            )
        return text

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "array", "minItems": 1, "maxItems": MOST_ITEMS, "items": {"type": "string", "minLength": 1}}

    def show(self, value: tuple[str, ...]) -> str:
        """See `Kind`."""
        return "[" + ", ".join(f'"{word}"' if "{" in word else word for word in value) + "]"
