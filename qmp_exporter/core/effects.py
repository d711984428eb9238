"""What taking a message means beside its samples: values that the rows of state return, and the VM carries out."""

from collections.abc import Mapping
from typing import NamedTuple

from .wire import BadMessage


class EndAnnounced(NamedTuple):
    """QEMU has said that it ends; or, where `is_expected` is false, it goes on after all."""

    is_expected: bool


class AnotherVm(NamedTuple):
    """Another VM has taken the place of the one we knew: what was counted before was not its."""


class LabelChanged(NamedTuple):
    """The values that a label has on this VM are others now.

    `renamed`: what was counted under the old one goes on under the new one; `gone`: values that are no more.
    """

    label: str
    renamed: Mapping[str, str]
    gone: frozenset[str]


# A BadMessage: part of the message could not be read.
Effect = EndAnnounced | AnotherVm | LabelChanged | BadMessage
