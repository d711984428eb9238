"""The name of a real part -> where it is; a test that misses one is skipped, in CI it fails: there all must be."""

import os
import platform
import shutil
from typing import NoReturn

import pytest


def need(program: str) -> str:
    """The path of a program; without it the test ends here."""
    path = shutil.which(program)
    if path is None:
        missing(f"{program} is not installed; tests/packages.txt tells which package has it")
    return path


def missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def need_root() -> None:
    """The one who is not root cannot become another user; without it the test ends here."""
    if os.geteuid() != 0:
        missing("only root can become another user")


def need_exits() -> None:
    """A kernel that says how the process of somebody else has ended; without it the test ends here."""
    kernel = tuple(int(part) for part in platform.release().split(".")[:2])
    if kernel < (6, 15):
        missing("Linux before 6.15 does not say how a process ended")
