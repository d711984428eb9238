"""What rows must know of a VM between messages: slices that each subject declares, made when they are first needed."""

from collections.abc import Callable
from enum import IntEnum
from typing import Any, Generic, TypeVar

T = TypeVar("T")
MAX_NAME = 128  # characters of a name that is kept; no label is longer, and QEMU's own names have 31


class Lifetime(IntEnum):
    """How long a slice holds."""

    SESSION = 0  # until the monitor is lost: what it told may change unseen
    VM = 1  # until another VM takes its place
    TARGET = 2


class Slice(Generic[T]):
    """What one subject remembers of a VM; `make` makes it as it is before anything was told.

    It is its own key: `facts[RUN_STATE]` is the run state of that VM.
    """

    __slots__ = ("lifetime", "make")

    def __init__(self, make: Callable[[], T], lifetime: Lifetime = Lifetime.SESSION) -> None:
        self.make = make
        self.lifetime = lifetime


class VmFacts:
    """All that is remembered of one VM.

    `at` is the time of the message that is being read, `version` that of QEMU by its greeting, `ending`: the end of
    this QEMU was announced.
    """

    __slots__ = ("_slices", "at", "ending", "version")

    def __init__(self) -> None:
        self.at = 0.0
        self.version = ""
        self.ending = False
        self._slices: dict[Slice[Any], Any] = {}

    def __getitem__(self, key: Slice[T]) -> T:
        try:
            known: T = self._slices[key]
        except KeyError:
            known = self._slices[key] = key.make()
        return known

    def is_qemu(self, since: tuple[int, ...]) -> bool:
        """Whether it is this version of QEMU or a later one."""
        return tuple(int(part) for part in self.version.split(".") if part) >= since

    def forget(self, lifetime: Lifetime) -> None:
        """What holds no longer than that is as before anything was told."""
        self._slices = {key: known for key, known in self._slices.items() if key.lifetime > lifetime}
