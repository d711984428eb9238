"""The programs that judge what is in deploy/: skipped where one is missing, except in CI, where all are there."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from parts import need

DEPLOY = Path(__file__).parents[2] / "deploy"

Run = Callable[..., str]


def program(name: str) -> Run:
    path = need(name)

    def run(*arguments: str | Path) -> str:
        done = subprocess.run(
            [path, *arguments], cwd=DEPLOY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


@pytest.fixture(scope="session")
def promtool() -> Run:
    return program("promtool")


@pytest.fixture(scope="session")
def amtool() -> Run:
    return program("amtool")


@pytest.fixture(scope="session")
def systemd_analyze() -> Run:
    return program("systemd-analyze")


@pytest.fixture
def deploy() -> Path:
    return DEPLOY
