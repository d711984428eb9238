"""A duration as it is written, like 1m30s -> seconds, or the sentence that says what was wanted."""

import re
from collections.abc import Callable
from typing import Final

DURATION: Final = "(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?(?:([0-9]{1,9})ms)?"


def between(least: str, most: str, example: str) -> Callable[[object], float]:
    """What reads a duration between these two: text -> seconds."""
    low, high = _seconds(least), _seconds(most)

    def read(value: object) -> float:
        seconds = _seconds(value) if isinstance(value, str) else None
        if seconds is None or low is None or high is None or not low <= seconds <= high:
            raise ValueError(f"wanted a duration from {least} to {most}, such as {example}")
        return seconds

    return read


def _seconds(text: str) -> float | None:
    match = re.fullmatch(DURATION, text) if text else None
    if match is None:
        return None
    hours, minutes, seconds, milliseconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
