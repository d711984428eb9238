"""How often it failed -> how long to wait; the chance in the jitter is an argument."""

FIRST = 1.0  # seconds
LONGEST = 30.0
HASTE = 0.1
BUSY = 60.0  # a held monitor is its owner's: each attempt, however short, may win the slot when the owner restarts


def least_delay(in_haste: int) -> float:
    """Seconds before the next attempt, even if there is a new socket by then, as `in_haste` times in a row before."""
    return min(LONGEST, HASTE * 2.0 ** min(in_haste, 10)) if in_haste else 0.0


def delay(failures: int, chance: float, *, busy: bool = False) -> float:
    """Seconds before the next attempt.  `failures` in a row, at least 1; `chance` in [0, 1).

    A busy monitor is asked once more soon, since a free one under an event storm can be late with its greeting.
    """
    if busy and failures > 1:
        return BUSY * (1 + chance / 2)
    return min(LONGEST, FIRST * 2.0 ** min(failures - 1, 10)) * (0.75 + chance / 2)
