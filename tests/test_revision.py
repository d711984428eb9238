"""A clone of this repository, whole or with a change, or what was made of it → the revision that it says it is of."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qmp_exporter.revision import BAKED, of_clone

PACKAGE = Path(__file__).parents[1] / "qmp_exporter"


def git(root: Path, *arguments: str) -> str:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Give a repository with a package in it that has nothing but its version and its revision."""
    (tmp_path / "qmp_exporter").mkdir()
    for name in ("__init__.py", "revision.py"):
        shutil.copy(PACKAGE / name, tmp_path / "qmp_exporter" / name)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=first")
    git(tmp_path, "tag", "v9.9.9")  # a revision is no tag
    return tmp_path


def told(root: Path, **environment: str) -> str:
    """What a process says that runs the package in this directory."""
    program = f"import sys; sys.path.insert(0, {str(root)!r}); from qmp_exporter.revision import revision; "
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", program + "print(revision())"],
        cwd="/",
        env=environment or None,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_clone_is_of_its_commit(clone: Path) -> None:
    assert told(clone) == git(clone, "rev-parse", "HEAD")
    assert len(told(clone)) == 40


def test_a_clone_with_a_change_says_so(clone: Path) -> None:
    with (clone / "qmp_exporter" / "__init__.py").open("a") as file:
        file.write("CHANGED = True\n")
    assert told(clone) == git(clone, "rev-parse", "HEAD") + "-modified"


def test_what_is_not_committed_yet_and_in_the_way_of_nothing_is_no_change(clone: Path) -> None:
    (clone / "notes").write_text("for me")
    assert told(clone) == git(clone, "rev-parse", "HEAD")


def test_a_worktree_is_of_its_own_commit(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    worktree = tmp_path_factory.mktemp("worktree") / "it"
    git(clone, "worktree", "add", "--quiet", str(worktree))
    git(worktree, "commit", "--quiet", "--allow-empty", "--message=second")
    assert told(worktree) == git(worktree, "rev-parse", "HEAD") != git(clone, "rev-parse", "HEAD")


def test_what_a_build_wrote_down_counts(clone: Path) -> None:
    shutil.rmtree(clone / ".git")
    (clone / "qmp_exporter" / BAKED).write_text("0123456789abcdef0123456789abcdef01234567\n")
    assert told(clone) == "0123456789abcdef0123456789abcdef01234567"


def test_without_a_repository_and_a_build_it_is_unknown(clone: Path) -> None:
    shutil.rmtree(clone / ".git")
    assert told(clone) == "unknown"


def test_a_repository_around_it_is_not_its_own(clone: Path) -> None:
    inside = clone / "vendor"
    shutil.copytree(clone / "qmp_exporter", inside / "qmp_exporter")
    assert of_clone(inside) == ""
    assert told(inside) == "unknown"


def test_without_git_it_is_unknown(clone: Path) -> None:
    assert told(clone, PATH="/nowhere") == "unknown"


def test_a_hook_of_another_repository_does_not_send_it_there(clone: Path, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "--quiet")
    assert told(clone, GIT_DIR=f"{other}/.git", GIT_WORK_TREE=str(other), PATH="/usr/bin:/bin") == git(
        clone, "rev-parse", "HEAD"
    )
