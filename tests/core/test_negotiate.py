"""What scrapers really send -> what they get."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmp_exporter.core.negotiate import LONGEST, OPENMETRICS, TEXT, _weighted, wants_gzip, wants_openmetrics

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_2_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
    "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_TEXT = (
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,"
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.2"
)
VICTORIA_METRICS = "text/plain;version=0.0.4;q=1,*/*;q=0.1"
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        (PROMETHEUS_2, True),
        (PROMETHEUS_2_PROTOBUF, True),
        (PROMETHEUS_3, True),
        (PROMETHEUS_3_TEXT, False),
        (VICTORIA_METRICS, False),
        (FIREFOX, False),
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ('application/openmetrics-text; version="1.0.0"; charset=utf-8', True),
        ("Application/OpenMetrics-Text ; Version=1.0.0", True),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.5", False),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.4", True),
        ("application/openmetrics-text;q=high", False),
        ("application/openmetrics-text;q=2", False),
    ],
)
def test_the_format_is_the_one_that_is_preferred(accept, openmetrics):
    assert wants_openmetrics(accept) is openmetrics


@pytest.mark.parametrize(
    ("accept_encoding", "gzip"),
    [
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("", False),
        ("identity", False),
        ("br", False),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("gzip;q=0.001", True),
        ("GZIP", True),
    ],
)
def test_the_page_is_compressed_for_those_who_can_read_it(accept_encoding, gzip):
    assert wants_gzip(accept_encoding) is gzip


def test_the_versions_named_are_ours_whatever_was_asked_for():
    assert OPENMETRICS == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert TEXT == "text/plain; version=0.0.4; charset=utf-8"


@given(st.text() | st.lists(st.sampled_from([*'ab,;=q"*/. \t01', "text/plain", "q=0.5", "version"])).map("".join))
def test_no_header_is_an_error(header):
    wants_openmetrics(header)
    wants_gzip(header)


@pytest.mark.parametrize("letters", ["a", " ", ";", "=", ",", '"', "a=", "q=1.", ";a"])
@pytest.mark.parametrize("start", ["", "x;", "text/plain;q="])
def test_a_header_of_any_length_is_read_in_no_time(start, letters):
    """Of what backtracks, or looks at each character once more for each, this would take hours."""
    header = start + letters * 2**20
    wants_openmetrics(header)
    wants_gzip(header)
    assert _weighted(header) == _weighted(header[:LONGEST])
