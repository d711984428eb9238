"""Where this package lies -> the git revision that it was made of: of its clone, or as the build wrote it down."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent
BAKED: Final = "revision.txt"  # in a wheel, an sdist and the Debian package, which have no git; never in a clone
UNKNOWN: Final = "unknown"
PATIENCE: Final = 10.0  # seconds for git, which answers in some 5 ms


@cache
def revision() -> str:
    """As Prometheus' own programs have it: with -modified behind it where files differ from the commit.

    A clone is asked once in the life of a process: what it runs does not change with the clone's next commit.
    """
    return _baked(PACKAGE) or of_clone(PACKAGE.parent) or UNKNOWN


def of_clone(root: Path) -> str:
    """Empty if this directory is no clone, git is not installed, or git does not trust the clone's owner."""
    git = root / ".git"  # by name: a clone of something else may be around an unpacked sdist
    if not git.exists():
        return ""
    ask = ("git", f"--git-dir={git}", f"--work-tree={root}", "--no-optional-locks")
    describe = ("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=-modified")
    try:
        done = subprocess.run([*ask, *describe], capture_output=True, text=True, timeout=PATIENCE, check=True, cwd=root)  # noqa: S603  our own words
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _baked(package: Path) -> str:
    try:
        return (package / BAKED).read_text(encoding="ascii").strip()
    except OSError:
        return ""
