"""Events -> those that a QEMU which throttles lets through (monitor/monitor.c): at most one a second per key."""

from typing import NamedTuple

from qmp_exporter.simulator.wire import Json

# event -> the member that keys it; "" where the event's name alone does.
_KEYS = {
    "RTC_CHANGE": "",
    "WATCHDOG": "",
    "BALLOON_CHANGE": "",
    "QUORUM_FAILURE": "",
    "QUORUM_REPORT_BAD": "node-name",
    "VSERPORT_CHANGE": "id",
    "MEMORY_DEVICE_SIZE_CHANGE": "qom-path",
    "BLOCK_IO_ERROR": "qom-path",
}
_PERIOD = 1.0


class Event(NamedTuple):
    """What happened and when, in seconds since the epoch."""

    name: str
    data: Json | None
    time: float

    def message(self) -> Json:
        whole = int(self.time)
        stamp = {"seconds": whole, "microseconds": int((self.time - whole) * 1e6)}
        message: Json = {"timestamp": stamp, "event": self.name}
        if self.data is not None:
            message["data"] = self.data
        return message


class Throttle:
    """The first of a kind passes; of those within the next second only the last one does, when it is over."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, object], tuple[float, Event | None]] = {}

    def passes(self, event: Event) -> bool:
        if event.name not in _KEYS:
            return True
        member = _KEYS[event.name]
        # BLOCK_IO_ERROR has its key, the qom-path, since 9.2 only, and is not throttled before.
        if event.name == "BLOCK_IO_ERROR" and member not in (event.data or {}):
            return True
        key = (event.name, (event.data or {}).get(member))
        if key in self._held:
            self._held[key] = (self._held[key][0], event)
            return False
        self._held[key] = (event.time + _PERIOD, None)
        return True

    def due(self, now: float) -> list[Event]:
        """Events whose second is over by now; their own times stay, and a new second begins for them."""
        released = []
        for key, (until, event) in list(self._held.items()):
            if now < until:
                continue
            if event is None:
                del self._held[key]
            else:
                self._held[key] = (until + _PERIOD, None)
                released.append(event)
        return released
