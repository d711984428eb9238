"""Those who want to call -> the few who may at the same time, in the order in which they came."""

from typing import Protocol

# libvirt's daemon takes five calls of a connection at once (max_client_requests), and one that waits for a QEMU that
# hangs is never given back: the fifth is for what needs no QEMU.  More connections would take the workers of virsh.
MONITOR_CALLS = 4


class Caller(Protocol):
    def has_slot(self) -> None:
        """It is this one's turn."""


class Slots:
    def __init__(self, number: int = MONITOR_CALLS) -> None:
        self._number = number
        self._holders: dict[Caller, None] = {}
        self._waiting: dict[Caller, None] = {}

    @property
    def holders(self) -> tuple[Caller, ...]:
        return tuple(self._holders)

    @property
    def is_full(self) -> bool:
        return len(self._holders) >= self._number

    def take(self, caller: Caller) -> bool:
        """Whether it has a slot now; if not it is told when it has, unless it gives that up."""
        if caller in self._holders:
            return True
        if self.is_full:
            self._waiting[caller] = None
            return False
        self._holders[caller] = None
        return True

    def give_back(self, caller: Caller) -> None:
        """Or no longer wait for one."""
        self._waiting.pop(caller, None)
        if self._holders.pop(caller, self) is None and self._waiting:
            following = next(iter(self._waiting))
            del self._waiting[following]
            self._holders[following] = None
            following.has_slot()
