"""The value law: cut the peer's stream at any byte, move the session, go on: same calls, same bytes.

And h2 hears what the owner said, as the owner hears what h2 said.
"""

from __future__ import annotations

from itertools import cycle, repeat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proxy.http2.conversations import CONVERSATIONS, Act, Conversation, normal, replayed

if TYPE_CHECKING:
    from collections.abc import Sequence

CUTS = st.lists(st.sampled_from([1, 2, 5, 9, 10, 100, 5000, 0]), min_size=1, max_size=8)
MOVES = st.lists(st.booleans(), min_size=1, max_size=8)

WHOLE = [
    Act("they", "ask", 0, 0, [(b"x-long", b"z" * 20000), (b"x-short", b"1")], False),
    Act("we", "ask", 0, 0, [(b"x-long", b"z" * 20000)], False),
    Act("they", "body", 0, 70000, [], False),
    Act("we", "head", 0, 0, [(b"x-short", b"1")], False),
    Act("they", "head", 0, 0, [(b"x-short", b"1")], False),
    Act("they", "body", 0, 5000, [], False),
    Act("we", "body", 0, 70000, [], False),
    Act("we", "ping", 0, 0, [], False),
    Act("they", "settings", 0, 100, [], False),
    Act("we", "consume", 0, 200000, [], False),
    Act("they", "consume", 0, 0, [], False),
    Act("they", "body", 0, 16384, [], True),
    Act("we", "trailers", 0, 0, [(b"grpc-status", b"0")], False),
]


def check(conversation: Conversation) -> None:
    """What each heard is what the other said."""
    bodies: dict[int, bytes] = {}
    said: dict[int, bytes] = {}
    for call in conversation.owner.calls:
        if call[0] == "body":
            bodies[call[1]] = bodies.get(call[1], b"") + call[2]
    for note in conversation.notes:
        if isinstance(note, tuple) and note[0] == "send_body":
            said[note[1]] = said.get(note[1], b"") + note[2]
    for stream_id in bodies.keys() | conversation.said.keys():
        if stream_id not in conversation.ended:
            assert bodies.get(stream_id, b"") == conversation.said.get(stream_id, b"")
    for stream_id, about in conversation.heard.items():
        if stream_id not in conversation.ended:
            assert len(about["body"]) == len(said.get(stream_id, b""))
            heads = [
                normal(note[2])
                for note in conversation.notes
                if isinstance(note, tuple) and note[:2] == ("send_headers", stream_id)
            ]
            assert [normal(head) for head in about["heads"]] == heads


@pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
@given(acts=CONVERSATIONS, cuts=CUTS, moves=MOVES)
@settings(max_examples=20, deadline=None)
def test_conversation_cut_and_moved_anywhere(
    server: bool, acts: Sequence[Act], cuts: list[int], moves: list[bool]
) -> None:
    conversation = Conversation(server=server)
    conversation.run(acts)
    check(conversation)
    calls, output = replayed(conversation, cycle(cuts), cycle(moves))
    assert calls == conversation.owner.calls
    assert output == conversation.output


@pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
@pytest.mark.parametrize("cut", [1, 7, 997])
def test_whole_conversation_in_pieces_of_one_size(server: bool, cut: int) -> None:
    conversation = Conversation(server=server)
    conversation.run(WHOLE)
    check(conversation)
    moves = cycle([True] + [False] * 40) if cut == 1 else repeat(True)
    calls, output = replayed(conversation, repeat(cut), moves)
    assert calls == conversation.owner.calls
    assert output == conversation.output
    assert {call[0] for call in calls} >= {"headers", "body", "settled", "pong"}


@pytest.mark.all
@pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
@given(acts=CONVERSATIONS, cuts=CUTS, moves=MOVES)
@settings(max_examples=300, deadline=None)
def test_many_conversations(server: bool, acts: Sequence[Act], cuts: list[int], moves: list[bool]) -> None:
    conversation = Conversation(server=server)
    conversation.run(acts)
    check(conversation)
    assert replayed(conversation, cycle(cuts), cycle(moves)) == (conversation.owner.calls, conversation.output)
