"""A text that a peer may have chosen -> the same without what moves a cursor, ends a line or turns text around."""

import re

# Controls, lone surrogates, and the format characters that reorder text or hide in it (Unicode's Cc, Cs, most of Cf).
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def without_controls(text: str) -> str:
    """For a terminal and for a line of log."""
    return _CONTROLS.sub("\ufffd", text)
