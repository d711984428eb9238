"""The page -> a file that others read meanwhile."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.web import textfile
from qmp_exporter.daemon.web.exposition import Exposition
from qmp_exporter.daemon.web.textfile import write_pages
from watching import eventually


def make(directory: Path) -> None:
    directory.mkdir()


@pytest.fixture
def exposition(monkeypatch: pytest.MonkeyPatch) -> Exposition:
    monkeypatch.setattr(textfile, "INTERVAL", 0.01)
    stats = Selfstats()
    return Exposition(Fleet(stats), stats)


async def test_the_file_has_what_is_ours_alone_and_is_gone_afterwards(directory: Path, exposition: Exposition) -> None:
    file = directory / "qemu.prom"
    async with asyncio.TaskGroup() as group:
        task = group.create_task(write_pages(file, exposition, lambda: True))
        await eventually(file.exists)
        lines = file.read_text().splitlines()
        assert file.stat().st_mode & 0o777 == 0o644
        task.cancel()
    names = {line.removeprefix("# HELP ").removeprefix("# TYPE ").split("{")[0].split(" ")[0] for line in lines}
    assert "qmp_exporter_build_info" in names
    assert [name for name in names if not name.startswith(("qemu_", "qmp_exporter_"))] == []
    assert list(directory.iterdir()) == []  # noqa: ASYNC240  a test may look


async def test_a_directory_that_is_not_there_is_complained_of_once(directory: Path, exposition: Exposition) -> None:
    file = directory / "later" / "qemu.prom"
    with capture_logs() as logged:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(write_pages(file, exposition, lambda: True))
            await eventually(lambda: bool(logged))
            await asyncio.sleep(0.05)
            make(file.parent)
            await eventually(file.exists)
            await eventually(lambda: len(logged) == 2)
            task.cancel()
    assert [line["event"] for line in logged] == [
        "cannot write the metrics to the file",
        "the metrics are written to the file again",
    ]
    assert logged[0]["why"] == "No such file or directory"
