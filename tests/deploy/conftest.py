"""The programs that judge what is in deploy/: skipped where one is missing, except in CI, where all are there."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"

Run = Callable[..., str]


def program(name: str) -> Run:
    if shutil.which(name) is None:
        message = f"{name} is not installed, tests/packages.txt tells which package has it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)

    def run(*arguments: str | Path) -> str:
        done = subprocess.run(
            [name, *arguments], cwd=DEPLOY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


@pytest.fixture(scope="session")
def promtool() -> Run:
    return program("promtool")


@pytest.fixture(scope="session")
def systemd_analyze() -> Run:
    return program("systemd-analyze")


@pytest.fixture
def deploy() -> Path:
    return DEPLOY
