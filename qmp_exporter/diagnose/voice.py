"""What a peer says before any greeting -> which protocol that is."""

from typing import NamedTuple

SHOWN = 120  # bytes of it; a peer must not fill anybody's terminal


class Voice(NamedTuple):
    """`mend`: what to do about it, in words."""

    who: str
    mend: str


_WRONG_PORT = "This is not QEMU's: look for a mistake in the address."
_VOICES: tuple[tuple[bytes, Voice], ...] = (
    (
        b"QEMU ",
        Voice(
            "a human monitor (HMP)",
            "Give the VM a QMP monitor: `-mon chardev=ID,mode=control` or `-qmp`, not `-mon chardev=ID` or `-monitor`.",
        ),
    ),
    (
        b"{\r\n",
        Voice("a QMP monitor with pretty=on", "Take pretty=on away from its -mon, or use -qmp and not -qmp-pretty."),
    ),
    (b"HTTP/", Voice("an HTTP server", _WRONG_PORT)),
    (b"\x15\x03", Voice("a TLS server", "QMP over TLS is not spoken here: use a unix socket.")),
    (b"\x16\x03", Voice("a TLS server", "QMP over TLS is not spoken here: use a unix socket.")),
    (b"SSH-", Voice("an SSH server", _WRONG_PORT)),
    (b"RFB ", Voice("a VNC server", "This is the VM's screen: look for its monitor.")),
    (b"REDQ", Voice("a SPICE server", "This is the VM's screen: look for its monitor.")),
    (b"\xff\xfb", Voice("a telnet server", "Take telnet=on away from the chardev.")),
    (b"\xff\xfd", Voice("a telnet server", "Take telnet=on away from the chardev.")),
    (b'{"return"', Voice("a guest agent, or a QMP session of somebody else", "Look for the VM's QMP monitor.")),
    (b'{"event"', Voice("a QMP monitor that does not greet", "Something is wrong with that QEMU, or with a proxy.")),
    (b'{"QMP"', Voice("a QMP monitor whose greeting does not end", "End that process if it should not be there.")),
)
_SOMETHING = Voice("something that does not speak QMP", "Look for a mistake in the address.")


def recognize(said: bytes) -> Voice:
    return next((voice for start, voice in _VOICES if said.startswith(start)), _SOMETHING)


def shown(said: bytes) -> str:
    """What was said, printable and bounded."""
    return ascii(said[:SHOWN].decode("latin-1"))[1:-1] + ("…" if len(said) > SHOWN else "")
