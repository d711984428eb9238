"""One line for each thing that happens."""

import json

import pytest
import structlog

from qmp_exporter.daemon.log import configure


@pytest.fixture(autouse=True)
def _as_before() -> object:
    yield
    structlog.reset_defaults()


def test_logfmt_begins_with_time_level_and_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    configure("info", "logfmt")
    structlog.get_logger().info("monitor lost", why="end of file", vm="web01")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ts=2")
    assert err.endswith(' level=info msg="monitor lost" vm=web01 why="end of file"\n')


def test_the_journal_stamps_its_lines_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    configure("info", "logfmt")
    structlog.get_logger().info("ready")
    assert capsys.readouterr().err == "level=info msg=ready\n"


def test_json_is_one_object_a_line_whatever_the_peer_said(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")
    structlog.get_logger().warning("bad", text='a"b\nc\ud800')
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert json.loads(line)["text"] == 'a"b\nc\ud800'


def test_less_than_the_level_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    configure("warn", "logfmt")
    structlog.get_logger().info("ready")
    assert capsys.readouterr().err == ""


def test_a_newline_in_a_value_does_not_make_a_second_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "logfmt")
    structlog.get_logger().warning("bad", text="one\ntwo level=error")
    assert capsys.readouterr().err.count("\n") == 1
