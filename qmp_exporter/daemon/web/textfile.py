"""The page -> a file for node_exporter's textfile collector, where nothing else of a host may be scraped."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from qmp_exporter.daemon.monitor.link import reason
from qmp_exporter.daemon.web.exposition import Exposition
from qmp_exporter.runtime.paths import PathCalls

INTERVAL: Final = 15.0  # seconds
CHECK_EVERY: Final = 0.1
MODE: Final = 0o644  # node_exporter is another user
# node_exporter tells of itself by the names by which prometheus_client tells of us, and two of one name are an error.
OURS: Final = (b"qemu_", b"qmp_exporter_")

log = structlog.get_logger()


async def write_pages(path: Path, exposition: Exposition, is_ready: Callable[[], bool]) -> None:
    """Never returns; ends by being cancelled.  Then the file is taken away: nobody is there who would keep it true.

    `is_ready`: every VM was tried once; until then none would be up.
    """
    for _ in range(int(INTERVAL / CHECK_EVERY)):
        if is_ready():
            break
        await asyncio.sleep(CHECK_EVERY)
    calls = PathCalls()
    complained = ""
    try:
        while True:
            page = b"".join([part async for part in exposition.page()])
            try:
                await calls.run(str(path), partial(_replace, path, page))
            except OSError as error:
                if complained != (complained := reason(error)):
                    log.warning("cannot write the metrics to the file", file=str(path), why=complained)
            else:
                if complained:
                    log.info("the metrics are written to the file again", file=str(path))
                complained = ""
            await asyncio.sleep(INTERVAL)
    finally:
        with contextlib.suppress(OSError):
            await calls.run(str(path), partial(path.unlink, missing_ok=True))


def _replace(path: Path, page: bytes) -> None:
    """Whole or not at all, whoever reads it meanwhile."""
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.writelines(_ours(page))
        os.fchmod(file.fileno(), MODE)
    new.replace(path)


def _ours(page: bytes) -> Iterable[bytes]:
    for line in page.splitlines(keepends=True):
        name = line.removeprefix(b"# HELP ").removeprefix(b"# TYPE ")
        if name.startswith(OURS):
            yield line
