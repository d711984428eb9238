"""The few shapes in which a payload is read; a row that needs another writes a function beside it."""

from collections.abc import Callable
from math import inf
from operator import attrgetter
from typing import Any

from .family import MAX_VALUE, Read, Sample
from .vm_facts import VmFacts

ONE: tuple[Sample, ...] = (((), 1),)


def once(_payload: Any, _facts: VmFacts) -> tuple[Sample, ...]:
    """It happened: one more, or a gauge at 1."""
    return ONE


def by(*members: str) -> Read[Any]:
    """It happened, by the values of these members."""
    get: Callable[[Any], Any] = attrgetter(*members)  # of several members it makes the tuple itself
    if len(members) == 1:
        return lambda payload, _facts: (((get(payload),), 1),)
    return lambda payload, _facts: ((get(payload), 1),)


def value(member: str) -> Read[Any]:
    """A member as it is."""
    return lambda payload, _facts: (((), getattr(payload, member)),)


def per(count: int, unit: float) -> float:
    """A count in another unit, of which `unit` make one; one that is too large for QEMU's own integers is infinite."""
    return count / unit if count <= MAX_VALUE else inf


def moment(_payload: Any, facts: VmFacts) -> tuple[Sample, ...]:
    """When the message that is being read happened."""
    return (((), facts.at),)


def level(number: float) -> Read[Any]:
    """A gauge that a message sets to one and the same value."""
    sample = (((), number),)
    return lambda _payload, _facts: sample
