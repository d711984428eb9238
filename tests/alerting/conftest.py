"""promtool, which judges the alerts: skipped where it is missing, except in CI."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from parts import need


@pytest.fixture
def promtool(tmp_path: Path) -> Callable[..., str]:
    """Run it in a directory of its own -> what it said."""
    path = need("promtool")

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [path, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[:40000]
        return done.stdout

    return run
