"""A rate and the time -> whether one more is allowed."""


class Bucket:
    """Earns one in each interval, up to a burst of them; it begins full.  Times are seconds on any clock."""

    def __init__(self, interval: float, burst: int, now: float) -> None:
        self._interval = interval
        self._burst = burst
        self._earned = float(burst)
        self._at = now

    def take(self, now: float) -> bool:
        self._earned = min(self._earned + (now - self._at) / self._interval, self._burst)
        self._at = now
        if self._earned < 1:
            return False
        self._earned -= 1
        return True
