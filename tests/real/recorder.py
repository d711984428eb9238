"""A monitor's socket -> another one that passes every byte both ways and keeps what the exporter said.

async with recording(directory, qemu.monitor) as recorder:
    ... the exporter connects to recorder.socket ...
    recorder.commands  # in order, with everything that was in them
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHUNK = 1 << 16


@dataclass
class Recorder:
    socket: Path
    messages: list[dict[str, Any]] = field(default_factory=list)
    sessions: int = 0
    ended: int = 0  # of the sessions
    most_in_flight: int = 0

    @property
    def commands(self) -> Counter[str]:
        """-> how often each command was sent"""
        return Counter(message["execute"] for message in self.messages)


class _Session:
    """One connection of the exporter: JSON without line ends in, lines of JSON out."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._said = ""
        self._answered = b""
        self._in_flight = 0

    def said(self, chunk: bytes) -> None:
        self._said += chunk.decode("ascii").lstrip()
        while self._said:
            try:
                message, end = json.JSONDecoder().raw_decode(self._said)
            except json.JSONDecodeError:
                return  # the rest of it is still to come
            self._said = self._said[end:].lstrip()
            self._recorder.messages.append(message)
            self._in_flight += 1
            self._recorder.most_in_flight = max(self._recorder.most_in_flight, self._in_flight)

    def answered(self, chunk: bytes) -> None:
        *lines, self._answered = (self._answered + chunk).split(b"\n")
        for line in lines:
            if not {"return", "error"}.isdisjoint(json.loads(line)):
                self._in_flight -= 1

    def assert_whole(self) -> None:
        assert self._said == "", f"the exporter sent what is no JSON: {self._said!r}"


@contextlib.asynccontextmanager
async def recording(directory: Path, monitor: Path) -> AsyncIterator[Recorder]:
    recorder = Recorder(directory / "recorded.sock")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recorder.sessions += 1
        session = _Session(recorder)
        qemu_reader, qemu_writer = await asyncio.open_unix_connection(monitor)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(reader, qemu_writer, session.said))
                group.create_task(_pass_on(qemu_reader, writer, session.answered))
        finally:
            for end in (writer, qemu_writer):
                end.close()
            recorder.ended += 1
        session.assert_whole()

    async with await asyncio.start_unix_server(serve, recorder.socket):
        yield recorder


async def _pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter, note: Callable[[bytes], None]) -> None:
    """Until one of the two is gone; what was said last arrives before the end does."""
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(CHUNK):
            note(chunk)
            to.write(chunk)
            await to.drain()
    to.close()
