"""What a peer says before any greeting -> which protocol that is."""

from typing import NamedTuple

SHOWN = 120  # bytes of it; a peer must not fill anybody's terminal


class Protocol(NamedTuple):
    """`fix`: what to do about it, in words."""

    who: str
    fix: str


_WRONG_PORT = "This is not QEMU's: look for a mistake in the address."
_KINDS: tuple[tuple[bytes, Protocol], ...] = (
    (
        b"QEMU ",
        Protocol(
            "a human monitor (HMP)",
            "Give the VM a QMP monitor: `-mon chardev=ID,mode=control` or `-qmp`, not `-mon chardev=ID` or `-monitor`.",
        ),
    ),
    (
        b"{\r\n",
        Protocol("a QMP monitor with pretty=on", "Take pretty=on away from its -mon, or use -qmp and not -qmp-pretty."),
    ),
    (b"HTTP/", Protocol("an HTTP server", _WRONG_PORT)),
    (b"\x15\x03", Protocol("a TLS server", "QMP over TLS is not spoken here: use a unix socket.")),
    (b"\x16\x03", Protocol("a TLS server", "QMP over TLS is not spoken here: use a unix socket.")),
    (b"SSH-", Protocol("an SSH server", _WRONG_PORT)),
    (b"RFB ", Protocol("a VNC server", "This is the VM's screen: look for its monitor.")),
    (b"REDQ", Protocol("a SPICE server", "This is the VM's screen: look for its monitor.")),
    (b"\xff\xfb", Protocol("a telnet server", "Take telnet=on away from the chardev.")),
    (b"\xff\xfd", Protocol("a telnet server", "Take telnet=on away from the chardev.")),
    (b'{"return"', Protocol("a guest agent, or a QMP session of somebody else", "Look for the VM's QMP monitor.")),
    (b'{"event"', Protocol("a QMP monitor that does not greet", "Something is wrong with that QEMU, or with a proxy.")),
    (b'{"QMP"', Protocol("a QMP monitor whose greeting does not end", "End that process if it should not be there.")),
)
_SOMETHING = Protocol("something that does not speak QMP", "Look for a mistake in the address.")


def recognize(said: bytes) -> Protocol:
    return next((kind for start, kind in _KINDS if said.startswith(start)), _SOMETHING)


def shown(said: bytes) -> str:
    """What was said, printable and bounded."""
    return ascii(said[:SHOWN].decode("latin-1"))[1:-1] + ("…" if len(said) > SHOWN else "")
