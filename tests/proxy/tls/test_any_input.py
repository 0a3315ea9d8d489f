"""Whatever two sides of TLS do, and whenever the proxy is replaced: each byte arrives once, or the end is told.

Random portions, slow readers, changes of keys, handovers in rounds and such that fail, ends of all kinds, at any step
from the first of the handshakes on, with TLS 1.2, TLS 1.3 or plaintext on either side. The far ends are Python's ssl
and, for changes of keys, our own. Whatever happens, nothing is left over: no value, no descriptor, no count.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.proxy.tls.scene import Scene
from tests.proxy.tls.storm import GENTLE, ROUGH, Storm
from tests.proxy.tls.storms import Asked, Called, Relayed

if TYPE_CHECKING:
    from tests.kit.certificates import Authority

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""The beginning of one."""
SEEDS = st.integers(0, 2**32)
RELAXED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@settings(max_examples=100, deadline=None, suppress_health_check=RELAXED)
@given(seed=SEEDS, steps=st.integers(3, 60))
def test_a_relayed_stream_arrives_byte_by_byte_or_its_end_is_told(authority: Authority, seed: int, steps: int) -> None:
    Relayed(authority, Random(seed)).run(steps, GENTLE + ROUGH)


@settings(max_examples=60, deadline=None, suppress_health_check=RELAXED)
@given(seed=SEEDS, steps=st.integers(3, 60))
def test_a_relayed_stream_that_nobody_breaks_off_is_whole(authority: Authority, seed: int, steps: int) -> None:
    Relayed(authority, Random(seed)).run(steps, GENTLE)


@settings(max_examples=80, deadline=None, suppress_health_check=RELAXED)
@given(seed=SEEDS, steps=st.integers(3, 60))
def test_each_request_of_http_gets_its_answer_unless_something_breaks(
    authority: Authority, seed: int, steps: int
) -> None:
    Asked(authority, Random(seed)).run(steps, GENTLE if seed % 2 else GENTLE + ROUGH)


@settings(max_examples=80, deadline=None, suppress_health_check=RELAXED)
@given(seed=SEEDS, steps=st.integers(3, 60), clients=st.integers(1, 3))
def test_each_call_of_bolt_gets_its_answer_unless_something_breaks(
    authority: Authority, seed: int, steps: int, clients: int
) -> None:
    Called(authority, Random(seed), clients).run(steps, GENTLE if seed % 2 else GENTLE + ROUGH)


@settings(max_examples=60, deadline=None, suppress_health_check=RELAXED)
@given(seed=SEEDS, steps=st.integers(3, 40), kind=st.sampled_from([Relayed, Asked, Called]))
def test_a_drain_in_the_middle_leaves_nothing(authority: Authority, seed: int, steps: int, kind: type[Storm]) -> None:
    storm = kind(authority, Random(seed))
    storm.go(steps, GENTLE)
    storm.drain()
    storm.check_nothing_is_left()


@settings(max_examples=60, deadline=None, suppress_health_check=RELAXED)
@given(seed=SEEDS, steps=st.integers(3, 40), kind=st.sampled_from([Relayed, Asked, Called]))
def test_a_destination_that_dies_leaves_nothing(authority: Authority, seed: int, steps: int, kind: type[Storm]) -> None:
    storm = kind(authority, Random(seed))
    storm.go(steps, GENTLE)
    storm.lose_everything()
    storm.check_nothing_is_left()


@settings(max_examples=100, deadline=None, suppress_health_check=RELAXED)
@given(
    data=st.builds(lambda size, noise: HELLO[:size] + noise, st.integers(0, len(HELLO)), st.binary(max_size=100)),
    cut=st.integers(0, 100),
    mode=st.sampled_from(["required", "permissive"]),
    moves=st.booleans(),
)
def test_any_bytes_in_the_place_of_a_handshake(
    authority: Authority, data: bytes, cut: int, mode: str, moves: bool
) -> None:
    listener = {"tls_mode": mode, "first_bytes_timeout": 1.0 if mode == "permissive" else None}
    cluster = {"connect_timeout": 9.0}
    play = Scene(authority, moving=moves, listener=listener, cluster=cluster, tls={"handshake_timeout": 3.0})
    client = play.socket()
    for portion in (data[:cut], data[cut:]):
        if portion and not client.closed:
            client.send(portion)
    play.world.wait(1.1)
    play.world.wait(3.1)
    if play.world.dials:  # it was taken for plaintext
        server = play.server()
        assert server.take() == data
        server.rst()
    assert client.ended or client.reset
    assert len(play.world.proxy.values()) == 0
    assert play.world.retired == []
