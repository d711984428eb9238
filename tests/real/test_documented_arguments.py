"""Each argument for QEMU that a page shows -> a QEMU of a version that it is for starts with it, and greets.

A page says it in the line above: `QEMU before 9.2`, `QEMU 11.1 and later`; without such a line it is for every version.
"""

import asyncio
import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from qmp_exporter.demo.qemu import dying_with_us
from waiting import awaited

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "deploy/*.md", "deploy/man/*.in", "*.yaml", "qmp_exporter/daemon/web/*.html")
    for path in ROOT.glob(pattern)
)
CHARDEV = re.compile(r"socket,id=exporter,path=(?P<path>/run/[\w/.-]+),server=(?P<server>on|off)[\w=,-]*")
OBJECT = re.compile(r"-object (monitor-qmp,[\w=,-]*)")
NEAR, ABOVE = 120, 5  # characters behind, and lines above, that belong to an argument
EVERY = ((0, 0), (99, 0))
REFUSED = 1  # the exit status of a QEMU that does not know its arguments


class Shown(NamedTuple):
    """What stands on some page; the versions are the first that it is for, and the first that it is no longer for."""

    chardev: str
    monitor: tuple[str, str]
    since: tuple[int, int]
    until: tuple[int, int]

    def __str__(self) -> str:
        return " ".join((self.chardev, *self.monitor)) + " from {}.{}".format(*self.since)


def versions(line: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """The line above the arguments -> for which versions they are."""
    if match := re.search(r"QEMU before (\d+)\.(\d+)", line):
        return (0, 0), (int(match[1]), int(match[2]))
    if match := re.search(r"QEMU (\d+)\.(\d+) and later", line):
        return (int(match[1]), int(match[2])), (99, 0)
    return EVERY


def shown() -> Iterator[tuple[Shown, str]]:
    """Each with the place where it stands."""
    for page in PAGES:
        text = page.read_text().replace("\\,", ",").replace("\\-", "-")  # as Ganeti and troff want it
        for match in CHARDEV.finditer(text):
            before, behind = text[: match.start()], text[match.end() : match.end() + NEAR]
            above = [line for line in before.splitlines() if line.strip()][-ABOVE:]
            said = next((one for line in reversed(above) if (one := versions(line)) != EVERY), EVERY)
            mon = OBJECT.search(behind.partition("-chardev")[0])
            monitor = ("-object", mon[1]) if mon else ("-mon", "chardev=exporter,mode=control")
            yield Shown(match[0], monitor, *said), f"{page.relative_to(ROOT)}:{before.count(chr(10)) + 1}"


ALL: dict[Shown, list[str]] = {}
for one, place in shown():
    ALL.setdefault(one, []).append(place)


@pytest.fixture(scope="module")
def version() -> tuple[int, int]:
    said = subprocess.run(["qemu-system-x86_64", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    match = re.search(r"version (\d+)\.(\d+)", said)
    assert match is not None
    return int(match[1]), int(match[2])


async def end_of(one: Shown, directory: Path) -> int | None:
    """A QEMU that is started so -> None when it greets on its monitor, or its exit status when it refuses to start."""
    socket = directory / "monitor.sock"
    greetings: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            if "QMP" in json.loads(line):  # not an event, which may come first while QEMU starts
                greetings.append(line)
                break
        writer.close()

    async def has_settled() -> bool | None:
        if not dials_in and socket.exists() and not greetings:
            with contextlib.suppress(ConnectionRefusedError):  # it is bound, and not listened to yet
                await take(*await asyncio.open_unix_connection(socket))
        return bool(greetings) or process.returncode is not None or None

    dials_in = "server=off" in one.chardev
    server = await asyncio.start_unix_server(take, socket) if dials_in else None
    process = await asyncio.create_subprocess_exec(
        *dying_with_us(),
        *("qemu-system-x86_64", "-machine", "none", "-display", "none", "-no-user-config"),
        *("-chardev", re.sub(r"path=[^,]+", f"path={socket}", one.chardev), *one.monitor),
    )
    try:
        await awaited(has_settled, lambda: f"neither a greeting nor an end: {one}")
        return None if greetings else process.returncode
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if server:
            server.close()


@pytest.mark.parametrize("one", ALL, ids=str)
async def test_qemu_starts_with_what_a_page_shows_for_its_version(one: Shown, version, short_path: Path) -> None:
    fits = one.since <= version < one.until
    status = await end_of(one, short_path)
    assert status is None or not fits, f"QEMU {version} ends with {status} with what is shown in {ALL[one]}"
    if one.since > version:
        assert status == REFUSED, f"QEMU {version} takes what {ALL[one]} says is for later ones"


def test_every_version_of_qemu_is_shown_a_way_to_dial_in_and_to_listen() -> None:
    for way in ("server=off", "server=on"):
        for version in ((5, 2), (7, 2), (9, 1), (9, 2), (10, 2), (11, 1), (12, 0)):
            assert [one for one in ALL if way in one.chardev and one.since <= version < one.until]


def test_what_is_not_said_to_be_for_some_versions_is_the_same_for_all() -> None:
    assert {one.chardev.partition("server=")[2] for one in ALL if (one.since, one.until) == EVERY} == {"on,wait=off"}
