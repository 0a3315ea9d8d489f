"""A page of documentation from a table of keys."""

from __future__ import annotations

from hotswap.settings.sections import Items, Key, Section


def table(section: Section, title: str) -> str:
    """The keys of a section under a heading, with form, default and meaning."""
    rows = "".join(
        f"| `{key.name}` | {_form(key)} | {_default(section, key)} | {_about(key)} |\n" for key in section.keys
    )
    return f"\n## {title}\n\n{section.about}\n\n| key | form | default | meaning |\n|---|---|---|---|\n{rows}"


def _form(key: Key) -> str:
    if isinstance(key.kind, Items):
        return f"list of {key.kind.section.title}s" + (f" \\| `{key.kind.word}`" if key.kind.word else "")
    return key.kind.title if isinstance(key.kind, Section) else key.kind.name


def _default(section: Section, key: Key) -> str:
    if key.required:
        return "required"
    default = section.default(key)
    if default is None or isinstance(key.kind, Section | Items):
        return key.absent
    return f"`{key.kind.show(default)}`"


def _about(key: Key) -> str:
    return f"{key.about} ({' and '.join(key.only)} only)" if key.only else key.about
