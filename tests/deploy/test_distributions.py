"""The sdist and the wheel -> what is in them, and whether they run where nothing else is installed."""

import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from qmp_exporter import __version__
from qmp_exporter.revision import BAKED, of_clone

pytestmark = pytest.mark.timeout(300)  # wheels may have to be fetched

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
REVISION = f"qmp_exporter/{BAKED}"


class Built(NamedTuple):
    wheel: Path
    sdist: Path


def done(*command: str | Path, cwd: Path = ROOT) -> str:
    ended = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def build(directory: Path) -> Built:
    done(sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, ROOT)
    (wheel,) = directory.glob("*.whl")
    (sdist,) = directory.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Give the wheel that was made of the sdist that was made of this."""
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the bin of an environment that has the wheel and what the lock names, and nothing else."""
    environment = tmp_path_factory.mktemp("installed")
    venv.create(environment, with_pip=True)
    pip = environment / "bin" / "pip"
    done(pip, "install", "--quiet", "--require-hashes", "--only-binary=:all:", "--requirement", LOCK)
    done(pip, "install", "--quiet", "--no-index", "--no-deps", built.wheel)
    return environment / "bin"


def tracked(folder: str = ".") -> set[str]:
    """Give the files of the repository, those that the next commit brings among them."""
    return set(done("git", "ls-files", "--cached", "--others", "--exclude-standard", folder).splitlines())


def test_an_index_would_take_both(built: Built):
    assert done(sys.executable, "-m", "twine", "--no-color", "check", "--strict", *built).count("PASSED") == 2


def test_the_wheel_has_every_file_of_the_package_and_its_revision_and_no_other(built: Built):
    inside = {name for name in zipfile.ZipFile(built.wheel).namelist() if ".dist-info/" not in name}
    assert inside == tracked("qmp_exporter") | {REVISION}


def test_a_link_of_its_description_leads_to_the_web_or_there_is_none(built: Built):
    """An index shows it without the files beside it."""
    with zipfile.ZipFile(built.wheel) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        text = wheel.read(name).decode()
    assert "which VM stopped on" in text
    assert [link for link in re.findall(r"\]\(([^)\s]+)", text) if not re.match("https?:", link)] == []


def test_the_sdist_has_all_that_git_has_and_its_revision(built: Built):
    with tarfile.open(built.sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert inside - {"PKG-INFO"} == (tracked() - tracked(".ci")) | {REVISION}


def test_a_build_leaves_the_source_as_it_is(built: Built):
    assert built
    assert not (ROOT / REVISION).exists()


def test_the_same_source_gives_the_same_bytes(built: Built, tmp_path: Path):
    again = build(tmp_path)
    assert again.wheel.read_bytes() == built.wheel.read_bytes()
    assert again.sdist.read_bytes() == built.sdist.read_bytes()


def test_what_is_locked_is_all_that_the_wheel_needs(installed: Path):
    assert "No broken requirements found." in done(installed / "pip", "check")


def test_the_lock_names_no_place_to_fetch_from():
    assert not re.search(r"://|--(extra-)?index|--find-links|@ file", LOCK.read_text())


def test_the_installed_program_knows_its_version_its_revision_and_its_metrics(installed: Path, tmp_path: Path):
    said = f"qmp-exporter {__version__} (revision {of_clone(ROOT)})\n"
    assert of_clone(ROOT)
    assert done(installed / "qmp-exporter", "--version", cwd=tmp_path) == said
    assert done(installed / "qmp-exporter", "metrics", cwd=tmp_path) == (ROOT / "METRICS.md").read_text()


def test_the_installed_program_takes_the_example_of_a_configuration(installed: Path, tmp_path: Path):
    assert "good" in done(installed / "qmp-exporter", "check-config", ROOT / "config.example.yaml", cwd=tmp_path)
