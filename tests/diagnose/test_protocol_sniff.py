"""First words of a peer -> the protocol."""

import pytest

from qmp_exporter.diagnose.protocol_sniff import SHOWN, recognize, shown


@pytest.mark.parametrize(
    ("said", "who"),
    [
        (b"QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) ", "a human monitor"),
        (b'{\r\n    "QMP": {\r\n', "pretty=on"),
        (b"HTTP/1.1 400 Bad Request\r\n", "an HTTP server"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "a TLS server"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH server"),
        (b"RFB 003.008\n", "a VNC server"),
        (b"\xff\xfb\x01\xff\xfb\x03", "a telnet server"),
        (b'{"return": {}}', "a guest agent"),
        (b'{"event": "STOP"}', "does not greet"),
        (b'{"QMP": {"version": {"package": "xxxxx', "greeting does not end"),
        (b"\r\nlogin: ", "something that does not speak QMP"),
    ],
)
def test_a_protocol_is_known_by_its_first_words(said: bytes, who: str) -> None:
    assert who in recognize(said).who


def test_what_was_said_is_shown_without_harm_to_the_terminal() -> None:
    assert shown(b"\x1b[2J\xffa\r\n") == r"\x1b[2J\xffa\r\n"
    assert len(shown(b"x" * 1000)) == SHOWN + 1
