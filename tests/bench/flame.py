"""Stacks as a flame graph that is small enough to be kept: an SVG without scripts, whose boxes tell about themselves.

What all stacks begin with is left out, a function that calls itself is one box, and what is too narrow to be seen is
not drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape
from itertools import groupby

from tests.bench.perf import Frame, Stack
from tests.kit.companion import ROOT

WIDTH, ROW = 1200, 16  # pixels
LETTER = 6.3  # pixels of a letter, about
NARROWEST = 0.005  # share of all samples
LARGEST = 40_000  # bytes of a picture
COMMON = 0.95  # what so many stacks share is left out at the bottom
FONT = 'font-family="monospace" font-size="10"'
COLOURS = {"kernel": "#e8a87c", "proxy": "#8fc98b", "python": "#f2d874", "other": "#b9c7e4"}
OURS = tuple(f"{ROOT}/{part}/" for part in ("hotswap", "proxy", "shm_metrics"))


class Node:
    """A function by the way to it."""

    __slots__ = ("above", "frame", "seen")

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.seen = 0
        self.above: dict[Frame, Node] = {}


def picture(title: str, stacks: Counter[Stack]) -> str:
    """The graph; of no stacks an empty one."""
    root = rooted(Frame("all", ""), stacks)
    narrowest = NARROWEST
    while len(drawn := _svg(title, root, narrowest)) > LARGEST:
        narrowest *= 1.5
    return drawn


def rooted(name: Frame, stacks: Counter[Stack]) -> Node:
    """All stacks as a tree, without what they have in common at the bottom."""
    root = Node(name)
    for stack, count in stacks.items():
        node = root
        node.seen += count
        for frame, _ in groupby(stack):
            node = node.above.setdefault(frame, Node(frame))
            node.seen += count
    while (only := _nearly_all_of(root)) is not None:
        root = only
    return root


def _nearly_all_of(node: Node) -> Node | None:
    widest = max(node.above.values(), key=lambda one: one.seen, default=None)
    return widest if widest is not None and widest.seen >= COMMON * node.seen else None


def _svg(title: str, root: Node, narrowest: float) -> str:
    boxes = list(_boxes(root, 0.0, 0, narrowest * root.seen))
    height = (max((depth for _, _, depth in boxes), default=0) + 3) * ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
        f'<text x="4" y="12">{escape(title)}, {root.seen} samples; narrower than {narrowest:.1%} is not drawn</text>',
    ]
    for node, left, depth in boxes:
        share = node.seen / max(1, root.seen)
        x, y, width = left / max(1, root.seen) * WIDTH, height - (depth + 1) * ROW, share * WIDTH
        letters = int(width / LETTER) - 1
        text = node.frame.name if len(node.frame.name) <= letters else node.frame.name[: max(0, letters)]
        lines.append(
            f"<g><title>{escape(node.frame.name)} ({escape(node.frame.file)}) {share:.1%}</title>"
            f'<rect x="{x:.1f}" y="{y}" width="{max(0.3, width - 0.5):.1f}" height="{ROW - 1}" fill="{_colour(node)}"/>'
            + (f'<text x="{x + 2:.1f}" y="{y + 11}">{escape(text)}</text>' if letters > 2 else "")
            + "</g>"
        )
    return "\n".join([*lines, "</svg>", ""])


def _boxes(node: Node, left: float, depth: int, narrowest: float) -> Iterator[tuple[Node, float, int]]:
    yield node, left, depth
    for one in sorted(node.above.values(), key=lambda one: one.frame):
        if one.seen >= narrowest:
            yield from _boxes(one, left, depth + 1, narrowest)
        left += one.seen


def _colour(node: Node) -> str:
    if node.frame.in_kernel:
        return COLOURS["kernel"]
    if "python" in node.frame.file:
        return COLOURS["python"]
    ours = node.frame.path.startswith(OURS) or node.frame.file.startswith(("nginx", "ngx_"))
    return COLOURS["proxy" if ours else "other"]
