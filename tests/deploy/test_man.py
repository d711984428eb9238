"""The manual and the completions → what mandoc and the shells say about them, and that they know all of the program."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from parts import need
from qmp_exporter.cli import command_line

MAN = Path(__file__).parents[2] / "deploy" / "man"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("man")
    subprocess.run([sys.executable, MAN, directory, "1700000000"], check=True)
    return directory


def said(program: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [need(program), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def words() -> set[str]:
    """Every command and every long option that the program takes."""
    found = set()
    parsers = [command_line()]
    while parsers:
        for action in parsers.pop()._actions:
            found |= {option for option in action.option_strings if option.startswith("--")}
            if isinstance(action, argparse._SubParsersAction):
                found |= set(action.choices)
                parsers += action.choices.values()
    return found - {"--help"}


def test_the_manual_is_clean(written: Path):
    assert said("mandoc", "-T", "lint", "-W", "warning", written / "qmp-exporter.1") == ""


def test_the_manual_has_the_day_it_was_written(written: Path):
    assert "2023-11-14" in said("mandoc", "-T", "ascii", written / "qmp-exporter.1")


def test_the_manual_tells_of_every_command_and_option(written: Path):
    plain = re.sub(
        ".\b", "", said("mandoc", "-T", "ascii", written / "qmp-exporter.1")
    )  # bold is a letter struck twice
    assert {word for word in words() if word not in plain} == set()
    assert len(words()) > 10


@pytest.mark.parametrize(
    ("shell", "check", "name"),
    [("bash", "-n", "qmp-exporter"), ("zsh", "-n", "_qmp-exporter"), ("fish", "--no-execute", "qmp-exporter.fish")],
)
def test_a_shell_takes_its_completion_which_knows_every_command_and_option(
    written: Path, shell: str, check: str, name: str
):
    assert said(shell, check, written / name) == ""
    text = (written / name).read_text()
    assert {word for word in words() if word.removeprefix("--") not in text} == set()


def test_bash_completes_commands_options_and_files(written: Path, tmp_path: Path):
    (tmp_path / "web.yaml").touch()

    def completed(*typed: str) -> list[str]:
        script = (
            'cd "$1"; . "$2"; shift 2; COMP_WORDS=(qmp-exporter "$@"); COMP_CWORD=$#; _shtab_qmp_exporter; '
            'echo "${COMPREPLY[@]}"'
        )
        return said("bash", "-c", script, "bash", tmp_path, written / "qmp-exporter", *typed).split()

    assert completed("check-") == ["check-config"]
    assert "--config.file" in completed("--c")
    assert completed("check-config", "we") == ["web.yaml"]
    assert completed("--config.file", "we") == ["web.yaml"]
