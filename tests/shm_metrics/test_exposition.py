from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from shm_metrics import Collected, Member, Registry, Shape
from shm_metrics.exposition import PIECE, Exposition, Format
from shm_metrics.plain import parsed

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def written(families: Iterable[Collected], form: Format = "text") -> str:
    return b"".join(Exposition().pieces(families, form)).decode()


def parse_openmetrics(text: str) -> list[Metric]:
    return [*openmetrics.text_string_to_metric_families(text)]  # type: ignore[no-untyped-call]


def gauge(name: str, *values: float, about: str = "", label: str = "which") -> Collected:
    members = [Member((str(number),), [value]) for number, value in enumerate(values)]
    return Collected(Shape(name, "gauge", about, (label,), combine="sum"), members)


def told(families: Iterable[Collected]) -> Samples:
    """All samples of a text, as anybody would expect them."""
    samples: Samples = {}

    def add(name: str, labels: dict[str, str], value: float) -> None:
        samples[name, tuple(sorted(labels.items()))] = value

    for shape, members in families:
        for member in members:
            labels = dict(zip(shape.labels, member.values, strict=True))
            if shape.kind != "histogram":
                add(shape.name, labels, member.cells[0])
                continue
            counts = [*accumulate(member.cells[1:])]
            for bound, count in zip([*map(str, shape.bounds), "+Inf"], counts, strict=True):
                add(f"{shape.name}_bucket", {**labels, "le": bound}, count)
            add(f"{shape.name}_sum", labels, member.cells[0])
            add(f"{shape.name}_count", labels, counts[-1])
    return samples


def read(metrics: Iterable[Metric]) -> Samples:
    """All samples that a parser found; none twice."""
    found = [
        ((sample.name, tuple(sorted(sample.labels.items()))), float(sample.value))
        for metric in metrics
        for sample in metric.samples
    ]
    assert len(found) == len(dict(found))
    return dict(found)


def same(one: Samples, other: Samples) -> bool:
    return one.keys() == other.keys() and all(
        one[key] == other[key] or (math.isnan(one[key]) and math.isnan(other[key])) for key in one
    )


# ---- whatever there may be ----

NAMES = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", fullmatch=True)
LABELS = st.lists(
    st.from_regex(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True).filter(lambda label: label != "le"),
    unique=True,
    max_size=3,
).map(tuple)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
COUNTS = st.integers(0, 1 << 53).map(float)
BOUNDS = st.lists(st.floats(-1e9, 1e9).map(lambda bound: bound + 0.0), min_size=1, max_size=4, unique=True).map(
    lambda bounds: tuple(sorted(bounds))
)


@st.composite
def collected(draw: st.DrawFn) -> list[Collected]:
    """Families as a registry has them, each under a name that no other's samples have."""
    families = []
    for number, name in enumerate(draw(st.lists(NAMES, max_size=3))):
        kind = draw(st.sampled_from(["counter", "gauge", "histogram"]))
        labels, bounds = draw(LABELS), draw(BOUNDS) if kind == "histogram" else ()
        full = f"{name}_{number}" + ("_total" if kind == "counter" else "")
        combine = "last" if kind == "gauge" else ""
        shape = Shape(full, kind, draw(TEXTS), labels, bounds, combine)  # type: ignore[arg-type]
        assert shape.problem() == ""
        some = st.tuples(*[TEXTS] * len(labels))
        members = [
            Member(
                values, [draw(_value(kind)), *(float(draw(st.integers(0, 1 << 40))) for _ in range(shape.visible - 1))]
            )
            for values in draw(st.lists(some, max_size=3, unique=True))
        ]
        families.append(Collected(shape, members))
    return families


def _value(kind: str) -> st.SearchStrategy[float]:
    return COUNTS if kind == "counter" else st.floats(allow_nan=kind == "gauge")


@given(collected())
def test_prometheus_reads_what_was_counted(families: list[Collected]) -> None:
    metrics = [*parse_text(written(families))]
    assert same(read(metrics), told(families))
    kinds = {metric.name: metric.type for metric in metrics}
    assert kinds == {shape.name.removesuffix("_total"): shape.kind for shape, _ in families}


def unsaid(families: list[Collected]) -> Samples:
    """What OpenMetrics must not say: sums of what may be negative, and counts without a sum."""
    histograms = [one for one in families if one.shape.kind == "histogram"]
    return {
        key: value
        for shape, members in histograms
        for member in members
        for key, value in told([Collected(shape, [member])]).items()
        if not key[0].endswith("_bucket") and not (member.cells[0] >= 0 and shape.bounds[0] >= 0)
    }


@given(collected())
def test_openmetrics_reads_what_was_counted(families: list[Collected]) -> None:
    metrics = parse_openmetrics(written(families, "openmetrics"))
    assert same(read(metrics), {key: value for key, value in told(families).items() if key not in unsaid(families)})
    # The parser drops blanks before a help.
    assert [(metric.name, metric.type, metric.documentation.strip()) for metric in metrics] == [
        (shape.name.removesuffix("_total") if shape.kind == "counter" else shape.name, shape.kind, shape.help.strip())
        for shape, _ in families
    ]


@given(collected())
def test_json_comes_back_as_it_was(families: list[Collected]) -> None:
    back = parsed(written(families, "json").encode())
    assert same(told(back), told(families))
    assert [(one.name, one.kind, one.help, one.labels) for one, _ in back] == [
        (one.name, one.kind, one.help, one.labels) for one, _ in families
    ]


@given(collected(), st.sampled_from(["text", "openmetrics"]))
def test_what_is_remembered_changes_nothing(families: list[Collected], form: Format) -> None:
    exposition = Exposition()
    [*exposition.pieces(families, "text")]
    assert b"".join(exposition.pieces(families, form)).decode() == written(families, form)


# ---- how it looks ----


def test_a_text() -> None:
    metrics = Registry()
    metrics.counter("shop_requests_total", "Requests.", ("code",)).labels("2xx").inc(3)
    metrics.gauge("shop_load", 'A "load", 5 \\ 7\nor so.').set(0.1)
    seconds = metrics.histogram("shop_seconds", "Durations.", ("way",), bounds=(0.25, 1.0))
    for value in (0.25, 0.5, 7):
        seconds.labels('a"b\\c\nd').observe(value)
    assert written(metrics.collect()) == (
        '# HELP shop_load A "load", 5 \\\\ 7\\nor so.\n'
        "# TYPE shop_load gauge\n"
        "shop_load 0.1\n"
        "# HELP shop_requests_total Requests.\n"
        "# TYPE shop_requests_total counter\n"
        'shop_requests_total{code="2xx"} 3\n'
        "# HELP shop_seconds Durations.\n"
        "# TYPE shop_seconds histogram\n"
        'shop_seconds_bucket{way="a\\"b\\\\c\\nd",le="0.25"} 1\n'
        'shop_seconds_bucket{way="a\\"b\\\\c\\nd",le="1.0"} 2\n'
        'shop_seconds_bucket{way="a\\"b\\\\c\\nd",le="+Inf"} 3\n'
        'shop_seconds_sum{way="a\\"b\\\\c\\nd"} 7.75\n'
        'shop_seconds_count{way="a\\"b\\\\c\\nd"} 3\n'
    )
    lines = written(metrics.collect(), "openmetrics").splitlines()
    assert '# HELP shop_load A \\"load\\", 5 \\\\ 7\\nor so.' in lines
    assert "# TYPE shop_requests counter" in lines
    assert 'shop_requests_total{code="2xx"} 3' in lines
    assert lines[-1] == "# EOF"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3.0, "3"),
        (-3.0, "-3"),
        (float((1 << 53) - 1), "9007199254740991"),
        (1e15, "1000000000000000"),
        (1e300, "1e+300"),
        (0.1, "0.1"),
        (1 / 3, "0.3333333333333333"),
        (5e-324, "5e-324"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers_are_exact_and_short(value: float, text: str) -> None:
    assert written([gauge("a", value)]).splitlines()[-1] == f'a{{which="0"}} {text}'


def test_the_buckets_of_one_text_never_contradict_its_count() -> None:
    shape = Shape("seconds", "histogram", "", (), (1.0, 2.0))
    lines = written([Collected(shape, [Member((), [9.5, 4.0, 0.0, 2.0])])]).splitlines()[2:]
    assert dict(line.split(" ", 1) for line in lines) == {
        'seconds_bucket{le="1.0"}': "4",
        'seconds_bucket{le="2.0"}': "4",
        'seconds_bucket{le="+Inf"}': "6",
        "seconds_sum": "9.5",
        "seconds_count": "6",
    }


def test_nothing_is_a_text_as_well() -> None:
    assert written([]) == ""
    assert written([], "openmetrics") == "# EOF\n"
    assert parsed(written([], "json").encode()) == []


@pytest.mark.parametrize(
    "other",
    [
        gauge("open_connections", 5.0),
        Collected(Shape("open_connections", "histogram", "", (), (1.0,)), [Member((), [0.0, 1.0, 1.0])]),
        gauge("open_connections_created", 5.0),
    ],
)
def test_in_openmetrics_a_counter_whose_family_another_one_is_keeps_its_name(other: Collected) -> None:
    counter = Collected(Shape("open_connections_total", "counter", "All."), [Member((), [7.0])])
    metrics = {one.name: one.type for one in parse_openmetrics(written([other, counter], "openmetrics"))}
    assert metrics == {other.shape.name: other.shape.kind, "open_connections_total": "unknown"}
    assert same(read(parse_openmetrics(written([counter, other], "openmetrics"))), told([counter, other]))
    assert "# TYPE open_connections_total counter" in written([other, counter])


def test_in_openmetrics_what_counts_under_another_name_is_no_counter() -> None:
    counter = Collected(Shape("hits", "counter", "All."), [Member((), [7.0])])
    [metric] = parse_openmetrics(written([counter], "openmetrics"))
    assert (metric.name, metric.type, metric.samples[0].value) == ("hits", "unknown", 7.0)


@pytest.mark.parametrize("form", ["text", "openmetrics", "json"])
def test_half_a_character_spoils_nothing_but_itself(form: Format) -> None:
    shape = Shape("files", "gauge", "caf\udce9", ("name",), combine="sum")
    text = written([Collected(shape, [Member(("caf\udce9",), [1.0])]), gauge("more", 2.0)], form)
    assert text.count("caf?") == 2
    assert "more" in text


# ---- piece by piece ----


@pytest.mark.parametrize("form", ["text", "openmetrics", "json"])
def test_no_piece_is_large(form: Format) -> None:
    shape = Shape("seconds", "histogram", "", ("which",), tuple(map(float, range(18))))
    many = [
        gauge("a", *map(float, range(5 * PIECE))),
        Collected(shape, [Member((str(number),), [1.0] * 20) for number in range(PIECE)]),
    ]
    exposition = Exposition()
    for _ in range(2):
        pieces = [*exposition.pieces(many, form)]
        assert max(map(values_in, pieces)) < PIECE + 25
        assert len(pieces) > 20


def values_in(piece: bytes) -> int:
    return len(re.findall(rb'^[^#\n].*$|"value"|\[', piece, re.MULTILINE))


def test_two_readers_at_once_do_not_disturb_each_other() -> None:
    exposition = Exposition()
    many = [gauge("a", *map(float, range(4 * PIECE)))]
    both: tuple[Iterator[bytes], ...] = (exposition.pieces(many, "text"), exposition.pieces(many, "openmetrics"))
    texts = [b"", b""]
    for pair in zip(*both, strict=True):
        texts = [text + piece for text, piece in zip(texts, pair, strict=True)]
    assert texts == [written(many).encode(), written(many, "openmetrics").encode()]


def test_members_that_are_gone_are_forgotten() -> None:
    exposition = Exposition()
    [*exposition.pieces([gauge("a", *map(float, range(100)))], "text")]
    [*exposition.pieces([gauge("a", 1.0)], "text")]
    assert [len(lines) for lines in exposition._lines.values()] == [1]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b'{"families":[{}]}',
        b'{"families":[{"name":"a","type":"gauge","help":"","labels":["b"],"members":[{"labels":{},"value":1}]}]}',
        b'{"families":[{"name":"a","type":"gauge","help":"","labels":[],"members":[{"labels":{},"value":"x"}]}]}',
        b'{"families":[{"name":"a","type":"histogram","help":"","labels":[],"members":[{"labels":{},"buckets":[7]}]}]}',
    ],
)
def test_json_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="these are no metrics"):
        parsed(text)
