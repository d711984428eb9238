"""The name of a real part -> where it is; a test that misses one is skipped, in CI it fails: there all must be."""

import os
import shutil

import pytest


def need(program: str) -> str:
    """The path of a program; without it the test ends here."""
    if path := shutil.which(program):
        return path
    message = f"{program} is not installed; tests/packages.txt tells which package has it"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def need_root() -> None:
    """Whoever is not root cannot become another user; without it the test ends here."""
    if os.geteuid() == 0:
        return
    if os.environ.get("CI"):
        pytest.fail("not run as root")
    pytest.skip("only root can become another user")
