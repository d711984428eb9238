"""A directory with sockets and with everything else that may lie there -> targets, and what is said of the rest."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from parts import need_root
from qmp_exporter.config import Config, Discover, Target, parse
from qmp_exporter.daemon.monitor.ownership import wrong_owner
from qmp_exporter.daemon.targets import source_poller
from qmp_exporter.daemon.targets.discovery import scan

Bind = Callable[..., None]
ME = os.getuid()


@pytest.fixture
def root() -> None:
    need_root()


@pytest.fixture
def bind(directory: Path) -> Iterator[Bind]:
    """Make socket files, by any name of bytes."""
    with ExitStack() as stack:

        def make(*names: str | bytes) -> None:
            for name in names:
                listener = stack.enter_context(socket.socket(socket.AF_UNIX))
                listener.bind(os.fsencode(directory) + b"/" + os.fsencode(name))
                listener.listen()

        yield make


def entry(directory: Path, glob: str = "*", more: str = "") -> Discover:
    text = f'discover:\n  - glob: "{directory}/{glob}"\n'
    config: Config = parse(text + "".join(f"    {line}\n" for line in more.splitlines()), "config.yaml")
    return config.discover[0]


def names(found: Discover) -> list[str]:
    return [target.name for target in scan(found).targets]


def refusals(found: Discover) -> dict[str, tuple[str, str]]:
    return {Path(what).name: (reason, why) for what, reason, why in scan(found).refused}


def test_a_directory_that_cannot_be_read_any_more_while_it_is_looked_through_is_not_taken_for_empty(
    directory: Path, bind: Bind, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind("web01.sock")
    times = iter([source_poller.scandir])

    def scandir(path: str) -> object:
        for first in times:
            return first(path)
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(source_poller, "scandir", scandir)
    monkeypatch.setattr("os.scandir", scandir)  # glob's
    with pytest.raises(PermissionError):
        scan(entry(directory, "*.sock"))
    monkeypatch.undo()
    assert names(entry(directory, "*.sock")) == ["web01"]


def test_a_socket_is_a_target_with_what_the_entry_says_of_it(directory: Path, bind: Bind) -> None:
    bind("web02.sock", "web01.sock")
    labels = "labels: {tenant: acme}\nquery_block: false\nallow_shared_monitor: true"
    assert scan(entry(directory, "*.sock", labels)).targets == [
        Target(name, f"{directory}/{name}.sock", {"tenant": "acme"}, allow_shared_monitor=True, query_block=False)
        for name in ("web01", "web02")
    ]


def test_a_pattern_finds_the_name_anywhere_in_the_path(directory: Path, bind: Bind) -> None:
    (directory / "web01").mkdir()
    bind("web01/monitor")
    assert names(entry(directory, "*/monitor", r"name: /(?P<vm>[^/]+)/monitor$")) == ["web01"]


def test_only_sockets_count_and_of_the_rest_nothing_is_said(directory: Path, bind: Bind) -> None:
    bind("web01.sock")
    (directory / "web01.pid").write_text("1")
    (directory / "web01.d").mkdir()
    (directory / "nothing").symlink_to(directory / "gone")
    os.mkfifo(directory / "pipe")  # opening it would hang
    found = scan(entry(directory))
    assert [target.name for target in found.targets] == ["web01"]
    assert found.refused == []


@pytest.mark.parametrize("exclude", ["*-tmp.sock", "/*/web01-tmp.sock"])
def test_what_is_excluded_by_its_name_or_its_path_is_no_target(directory: Path, bind: Bind, exclude: str) -> None:
    bind("web01.sock", "web01-tmp.sock")
    found = scan(entry(directory, more=f"exclude: ['{exclude}']"))
    assert [target.name for target in found.targets] == ["web01"]
    assert found.refused == []


def test_a_socket_behind_a_link_is_a_target(directory: Path, bind: Bind) -> None:
    (directory / "links").mkdir()
    bind("web01.sock")
    (directory / "links" / "vm1").symlink_to(directory / "web01.sock")
    assert names(entry(directory, "links/*")) == ["vm1"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (b"web\xff01.sock", "U+DCFF"),
        (b"web\n01.sock", "U+000A"),
        (b"web\x1b[2J.sock", "U+001B"),
        ("web\u202801.sock", "U+2028"),
    ],
)
def test_a_name_that_is_no_text_is_refused(directory: Path, bind: Bind, name: str | bytes, why: str) -> None:
    bind("web01.sock", name)
    found = scan(entry(directory))
    assert [target.name for target in found.targets] == ["web01"]
    ((_, reason, text),) = found.refused
    assert reason == "name"
    assert why in text


@pytest.mark.parametrize("name", ['web"01.sock', "web\\01.sock", "{}%s.sock", "web 01.sock", "<b>.sock", "-rf.sock"])
def test_a_name_that_is_text_is_a_name_however_odd(directory: Path, bind: Bind, name: str) -> None:
    bind(name)
    assert names(entry(directory)) == [name.removesuffix(".sock")]


def test_what_the_pattern_does_not_match_is_refused_and_told_why(directory: Path, bind: Bind) -> None:
    bind("web01.sock", "qga.sock")
    found = entry(directory, more=r"name: '(?P<vm>web\d+)\.sock$'")
    assert names(found) == ["web01"]
    assert refusals(found) == {"qga.sock": ("name", r"it does not match (?P<vm>web\d+)\.sock$")}


@pytest.mark.parametrize("pattern", [r"(?P<vm>x*)", r"(?P<vm>y)?web01"])
def test_an_empty_name_is_none(directory: Path, bind: Bind, pattern: str) -> None:
    bind("web01.sock")
    assert refusals(entry(directory, more=f"name: '{pattern}'"))["web01.sock"][0] == "name"


def test_a_socket_of_somebody_else_is_refused(directory: Path, bind: Bind) -> None:
    bind("web01.sock")
    assert names(entry(directory, more=f"owner: {ME}")) == ["web01"]
    found = entry(directory, more=f"owner: {ME + 1}")
    assert names(found) == []
    assert refusals(found) == {"web01.sock": ("owner", f"it belongs to the user {ME}, wanted {ME + 1}")}


@pytest.mark.usefixtures("root")
def test_a_link_of_somebody_else_is_refused_even_to_a_socket_of_the_owner(directory: Path, bind: Bind) -> None:
    (directory / "links").mkdir()
    bind("web01.sock")
    os.chown(directory / "web01.sock", 4711, -1)
    link = directory / "links" / "db01"
    link.symlink_to(directory / "web01.sock")
    assert wrong_owner(str(link), 4711) is None  # root's link
    os.lchown(link, 4712, -1)
    assert wrong_owner(str(link), 4711) == "the link to it belongs to the user 4712, wanted 4711"


def test_a_directory_that_is_not_there_has_no_vms(directory: Path) -> None:
    assert scan(entry(directory, "nothing/*.sock")).targets == []


@pytest.mark.usefixtures("root")
def test_a_directory_that_cannot_be_read_is_not_an_empty_one(directory: Path, bind: Bind) -> None:
    bind("web01.sock")
    directory.chmod(0)
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            scan(entry(directory))
    finally:
        os.seteuid(0)


@pytest.mark.usefixtures("root")
def test_a_directory_that_may_be_listed_and_not_entered_is_told(directory: Path, bind: Bind) -> None:
    bind("web01.sock")
    directory.chmod(0o744)
    os.seteuid(65534)
    try:
        assert refusals(entry(directory)) == {"web01.sock": ("denied", "no permission to look at it")}
    finally:
        os.seteuid(0)


def test_a_directory_full_of_rubbish_fills_no_memory(
    directory: Path, bind: Bind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_poller, "MOST", 3)
    bind("a", "b", "c", "d")
    found = scan(entry(directory))
    assert len(found.targets) == 3
    assert [reason for _, reason, _ in found.refused] == ["many"]
