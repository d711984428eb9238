"""One line for each thing that happens."""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from qmp_exporter.log import BURST, PAUSE, PIECE, Limiter, Lines, configure


@pytest.fixture(autouse=True)
def _as_before() -> object:
    yield
    structlog.reset_defaults()


def test_logfmt_begins_with_time_level_and_message(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    configure("info", "logfmt")
    structlog.get_logger().info("monitor lost", why="end of file", vm="web01")
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("ts=2")
    assert err.endswith(' level=info msg="monitor lost" vm=web01 why="end of file"\n')


def test_a_boolean_has_a_value_in_logfmt_as_every_other_field_has(capfd: pytest.CaptureFixture[str]) -> None:
    configure("info", "logfmt")
    structlog.get_logger().info("monitor lost", announced=True, watched=False, vm="web01")
    assert capfd.readouterr().err.endswith(' msg="monitor lost" vm=web01 announced=true watched=false\n')


def test_the_journal_stamps_its_lines_itself_and_is_told_their_priority(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{stderr.st_dev}:{stderr.st_ino}")
    configure("debug", "logfmt")
    log = structlog.get_logger()
    log.debug("query")
    log.info("ready")
    log.warning("monitor lost")
    log.error("broken")
    assert capfd.readouterr().err.splitlines() == [
        "<7>level=debug msg=query",
        "<6>level=info msg=ready",
        '<4>level=warning msg="monitor lost"',
        "<3>level=error msg=broken",
    ]


def test_a_redirection_of_what_was_the_journal_gets_the_time_and_no_priority(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    configure("info", "logfmt")
    structlog.get_logger().info("ready")
    line = capfd.readouterr().err
    assert line.startswith("ts=2")
    assert line.endswith(" level=info msg=ready\n")


def test_json_is_one_object_a_line_whatever_the_peer_said(capfd: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")
    structlog.get_logger().warning("bad", text='a"b\nc\ud800')
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert json.loads(line)["text"] == 'a"b\ufffdc\ufffd'


def test_less_than_the_level_is_not_said(capfd: pytest.CaptureFixture[str]) -> None:
    configure("warn", "logfmt")
    structlog.get_logger().info("ready")
    assert capfd.readouterr().err == ""


def test_a_newline_in_a_value_does_not_make_a_second_line(capfd: pytest.CaptureFixture[str]) -> None:
    configure("info", "logfmt")
    structlog.get_logger().warning("bad", text="one\ntwo level=error")
    assert capfd.readouterr().err.count("\n") == 1


def lost(lines: int) -> str:
    return f"lost: {lines}"


def everything_in(pipe: int) -> str:
    os.set_blocking(pipe, False)
    received = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            received += os.read(pipe, 1 << 20)
    return received.decode()


def test_who_does_not_read_the_log_holds_nobody_and_is_told_later_what_was_lost() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 16 * PIECE)
    lines = Lines(writer, lost)
    for _ in range(100):
        lines.write("x" * 2 * PIECE)  # takes two pages of the pipe and a bit, so that the sixth is cut off
    *whole, cut_off = everything_in(reader).splitlines()
    lines.write("again")
    assert whole == ["x" * 2 * PIECE] * 5
    assert cut_off == "x" * PIECE
    assert everything_in(reader).splitlines() == ["", "lost: 95", "again"]
    os.close(reader)
    os.close(writer)


def test_a_log_that_cannot_be_written_ends_nobody() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    reader, writer = os.pipe()
    os.close(reader)
    for descriptor in (full, writer):
        Lines(descriptor, lost).write("a line")
        os.close(descriptor)


def test_without_stderr_nothing_else_gets_its_number_and_the_log_with_it(tmp_path: Path) -> None:
    script = (
        "from qmp_exporter.log import configure; import structlog\n"
        "configure('info', 'json')\n"
        f"other = open({str(tmp_path / 'other')!r}, 'w')\n"
        "structlog.get_logger().error('for nobody')\n"
        "other.close()"
    )
    subprocess.run([sys.executable, "-c", script], close_fds=True, preexec_fn=lambda: os.close(2), check=True)
    assert (tmp_path / "other").read_text() == ""


@pytest.mark.parametrize("fmt", ["logfmt", "json"])
def test_what_a_peer_calls_itself_makes_no_line_and_turns_no_text_around(
    capfd: pytest.CaptureFixture[str], fmt: str
) -> None:
    configure("info", fmt)
    structlog.get_logger().info("a connection was turned away", name="web\n01\u202e\x1b[2J\u2066", vm="wéb01")
    (line,) = capfd.readouterr().err.splitlines()
    said = json.loads(line)["name"] if fmt == "json" else line
    assert "web\ufffd01\ufffd\ufffd[2J\ufffd" in said
    assert "wéb01" in line or "w\\u00e9b01" in line


def test_a_vm_that_comes_and_goes_without_end_does_not_fill_the_journal(capfd: pytest.CaptureFixture[str]) -> None:
    configure("info", "logfmt")
    log = structlog.get_logger()
    for _ in range(1000):
        log.info("monitor connected", vm="web01")
    log.info("monitor connected", vm="web02")
    log.info("listening")
    *said, other, without = capfd.readouterr().err.splitlines()
    assert len(said) == BURST
    assert "vm=web02" in other
    assert "msg=listening" in without


def test_lines_that_were_left_out_are_told_with_the_next_one() -> None:
    now = 0.0
    limiter = Limiter(lambda: now)

    def say() -> object:
        return limiter(None, "info", {"event": "monitor lost", "vm": "web01"})

    for _ in range(BURST):
        assert say() == {"event": "monitor lost", "vm": "web01"}
    for _ in range(3):
        with pytest.raises(structlog.DropEvent):
            say()
    now = PAUSE
    assert say() == {"event": "monitor lost", "vm": "web01", "lines_left_out": 3}
    now += BURST * PAUSE
    assert [say() for _ in range(BURST)] == [{"event": "monitor lost", "vm": "web01"}] * BURST
