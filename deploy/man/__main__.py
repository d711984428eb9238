"""The command line as the program itself knows it -> its manual and the completions of three shells, in a directory.

python deploy/man DIRECTORY SECONDS    SECONDS since 1970: the day that stands in the manual
"""

import argparse
import datetime as dt
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import shtab

from qmp_exporter import __version__
from qmp_exporter.cli import command_line

FRAME = Path(__file__).with_name("qmp-exporter.1.in")
COMPLETIONS = {"bash": "qmp-exporter", "zsh": "_qmp-exporter", "fish": "qmp-exporter.fish"}


def main(directory: Path, written_at: int) -> None:
    parser = command_line()
    (directory / "qmp-exporter.1").write_text(manual(parser, written_at))
    complete_files(parser)
    for shell, name in COMPLETIONS.items():
        (directory / name).write_text(shtab.complete(parser, shell))


def manual(parser: argparse.ArgumentParser, written_at: int) -> str:
    own = list(actions(parser))
    commands = commands_of(parser)
    return (
        FRAME.read_text()
        .replace("@DATE@", f"{dt.datetime.fromtimestamp(written_at, dt.UTC):%Y-%m-%d}")
        .replace("@VERSION@", roff(__version__))
        .replace("@OPTIONS@", "\n".join(described(own)))
        .replace("@COMMANDS@", "\n".join(line for name in commands for line in command(name, commands[name], own)))
    )


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (subparsers,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001  argparse has no public way to ask
    return dict(subparsers.choices)


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """What can be given to it, --help and the commands aside."""
    for action in parser._actions:  # noqa: SLF001  argparse has no public way to ask
        if not isinstance(action, argparse._HelpAction | argparse._SubParsersAction):  # noqa: SLF001  the same
            yield action


def command(name: str, parser: argparse.ArgumentParser, known: list[argparse.Action]) -> Iterator[str]:
    """`known` are the options of the program itself; a command that takes some of them says so by one word."""
    taken = list(actions(parser))
    new = [action for action in taken if action not in known]
    values = [synopsis(action) for action in new if not action.option_strings]
    options = [r"[\fIOPTION\fR ...]"] if any(action.option_strings for action in taken) else []
    yield ".TP"
    yield " ".join([rf"\fB{roff(name)}\fR", *options, *values])
    yield roff(parser.description or "")
    if described_here := list(described(new)):
        yield from (".RS", *described_here, ".RE")


def described(wanted: Iterable[argparse.Action]) -> Iterator[str]:
    for action in wanted:
        if action.help:
            yield from (".TP", synopsis(action), roff(action.help % vars(action)))


def synopsis(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else rf"\fI{roff(str(action.metavar or '|'.join(action.choices or ())))}\fR"
    if not action.option_strings:
        return value
    return rf"\fB{roff(action.option_strings[-1])}{'=' if value else ''}\fR{value}"


def roff(text: str) -> str:
    """As words of a line; a full stop at its beginning would be taken for a macro."""
    return r"\&" * text.startswith(".") + text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")


def complete_files(parser: argparse.ArgumentParser) -> None:
    for each in (parser, *commands_of(parser).values()):
        for action in actions(each):
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # how shtab wants to be told


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
