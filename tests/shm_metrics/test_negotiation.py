from __future__ import annotations

import gzip

import pytest

from shm_metrics.negotiation import chosen, compressed, gzipped

# https://prometheus.io/docs/instrumenting/content_negotiation/
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "text"),
        ("*/*", "text"),
        ("text/*", "text"),
        ("text/plain", "text"),
        ("application/*", "openmetrics"),
        ("application/json", "json"),
        ("Application/JSON; charset=utf-8", "json"),
        ("application/json, text/plain, */*", "json"),
        ("*/*, application/json", "json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text"),
        (PROMETHEUS_2, "openmetrics"),
        (PROMETHEUS_3, "openmetrics"),
        ("application/vnd.google.protobuf;encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3", "text"),
        ("application/openmetrics-text; version=2.0.0, text/plain;q=0.1", "text"),
        ('application/openmetrics-text; version="1.0.0"; q=0.2, text/plain;q=0.1', "openmetrics"),
        ("text/plain;q=0.5, application/openmetrics-text;q=0.4", "text"),
        ("text/plain;q=0.5, */*", "openmetrics"),
        ("text/plain;q=0, */*;q=0.1", "openmetrics"),
        ("text/plain;q=0, application/openmetrics-text;q=0, */*", "json"),
        ("image/png", "text"),
        ("text/plain;q=0", "text"),
        ("application/json;q=nan, text/plain;q=0.1", "text"),
        ("application/json;q=7, text/plain;q=0.1", "text"),
        ("application/json;q=, text/plain;q=0.1", "text"),
        (",;,=;q", "text"),
    ],
)
def test_accept(accept: str, form: str) -> None:
    assert chosen(accept) == form


@pytest.mark.parametrize(
    ("accepted", "answer"),
    [
        ("", False),
        ("identity", False),
        ("deflate, br", False),
        ("gzip", True),
        ("GZip", True),
        ("x-gzip", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("*", True),
        ("*;q=0", False),
        ("*;q=0, gzip", True),
        ("gzip;q=0, *", False),
        ("gzip;q=0.0", False),
    ],
)
def test_accept_encoding(accepted: str, answer: bool) -> None:
    assert compressed(accepted) is answer


def test_compressed_pieces_are_one_file() -> None:
    pieces = [b"a" * 1000, b"", b"b" * 100_000]
    assert gzip.decompress(b"".join(gzipped(pieces))) == b"".join(pieces)
    assert gzip.decompress(b"".join(gzipped([]))) == b""
