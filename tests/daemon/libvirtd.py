"""A daemon that speaks libvirt's RPC as far as the exporter uses it -> whatever a test wants libvirt to do.

The frames are made here anew, from libvirt's protocol files, so that a mistake of the codec is none of the test's too.
"""

import asyncio
import json
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

REMOTE, QEMU, KEEPALIVE = 0x20008086, 0x20008087, 0x6B656570
OPEN, CLOSE, FEATURE, AUTH_LIST, AUTH_POLKIT = 1, 2, 60, 66, 70
GET_STATE, CONTROL_INFO, LIST, LIFECYCLE = 212, 229, 273, 316
COMMAND, EVENTS = 1, 4
STARTED, SUSPENDED, STOPPED = 2, 3, 5
NAMES = {
    (REMOTE, GET_STATE): "state",
    (REMOTE, CONTROL_INFO): "control",
    (REMOTE, LIST): "list",
    (QEMU, COMMAND): "ask",
}

Reply = Callable[[dict[str, Any], dict[str, Any] | None], dict[str, Any]]


@dataclass
class Domain:
    name: str
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    id: int = 1
    state: tuple[int, int] = (1, 1)  # running
    waits: int | None = None  # milliseconds that libvirt has waited for QEMU
    hangs: bool = False
    answers: dict[str, Any] = field(default_factory=dict)  # by command
    asked: list[str] = field(default_factory=list)

    def packed(self, number: int | None = None) -> bytes:
        return text(self.name) + uuid.UUID(self.uuid).bytes + struct.pack(">i", self.id if number is None else number)


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(">I", len(raw)) + raw + bytes(-len(raw) % 4)


def frame(program: int, procedure: int, kind: int, serial: int, payload: bytes, status: int = 0) -> bytes:  # noqa: PLR0917  the header's own order
    return struct.pack(">IIIIIII", 28 + len(payload), program, 1, procedure, kind, serial, status) + payload


class Libvirtd:
    """`errors`: by program and procedure, the code and text of the answer.  `calls`: what came, by name, in order."""

    def __init__(self, path: Path, *domains: Domain, auth: tuple[int, ...] = (0,)) -> None:
        self.path = path
        self.domains = list(domains)
        self.auth = auth
        self.errors: dict[tuple[int, int], tuple[int, str]] = {}
        self.silent: set[tuple[int, int]] = set()
        self.calls: list[str] = []
        self.in_flight = self.most_in_flight = 0
        self.clients: list[asyncio.StreamWriter] = []
        self._registered = False
        self._held: list[tuple[asyncio.StreamWriter, int, Domain, str]] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def hang_up(self) -> None:
        for client in self.clients:
            client.transport.abort()
        self.clients.clear()
        self._held.clear()
        self.in_flight = 0

    # --- what happens to domains

    def event(self, domain: Domain, name: str, details: Any = None, number: int | None = None) -> None:
        self.sends(self.storm(domain, name, details, 1, number))

    @staticmethod
    def storm(domain: Domain, name: str, details: Any, times: int, number: int | None = None) -> bytes:
        """-> the bytes of an event, again and again"""
        data = struct.pack(">I", 0) if details is None else struct.pack(">I", 1) + text(json.dumps(details))
        payload = struct.pack(">i", 1) + domain.packed(number) + text(name) + struct.pack(">qI", 1_700_000_000, 500_000)
        return frame(QEMU, 6, 2, 0, payload + data) * times

    def lifecycle(self, domain: Domain, event: int, detail: int = 0, number: int | None = None) -> None:
        payload = struct.pack(">i", 0) + domain.packed(number) + struct.pack(">ii", event, detail)
        self.sends(frame(REMOTE, 318, 2, 0, payload))

    def starts(self, domain: Domain) -> None:
        self.domains.append(domain)
        self.event(domain, "RESUME")
        self.lifecycle(domain, STARTED)

    def stops(self, domain: Domain, detail: int) -> None:
        self.domains.remove(domain)
        self.lifecycle(domain, STOPPED, detail, number=-1)

    def goes_on(self, domain: Domain) -> None:
        """A QEMU that hung answers."""
        domain.hangs, domain.waits = False, None
        held, self._held = self._held, []
        for writer, serial, of, command in held:
            if of is domain:
                self._answer(writer, serial, of, command)
            else:
                self._held.append((writer, serial, of, command))

    def sends(self, raw: bytes) -> None:
        for client in self.clients:
            client.write(raw)

    async def sends_and_waits(self, raw: bytes) -> None:
        """As fast as it is read."""
        self.sends(raw)
        for client in self.clients:
            await client.drain()

    def pings(self) -> None:
        self.sends(frame(KEEPALIVE, 1, 2, 0, b""))

    # --- how calls are answered

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.append(writer)
        try:
            while True:
                (size,) = struct.unpack(">I", await reader.readexactly(4))
                rest = await reader.readexactly(size - 4)
                program, _, procedure, _, serial, _ = struct.unpack(">IIIIII", rest[:24])
                self._call(writer, program, procedure, serial, rest[24:])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _call(self, writer: asyncio.StreamWriter, program: int, procedure: int, serial: int, arguments: bytes) -> None:
        key = program, procedure
        self.calls.append(NAMES.get(key, f"{program:x}/{procedure}"))
        if key in self.silent or program == KEEPALIVE:
            return
        if key in self.errors:
            code, words = self.errors[key]
            payload = struct.pack(">iiI", code, 10, 1) + text(words) + struct.pack(">i", 2) + bytes(24)
            writer.write(frame(program, procedure, 1, serial, payload, status=1))
            return
        if key == (QEMU, COMMAND):
            self._ask(writer, serial, arguments)
            return
        writer.write(frame(program, procedure, 1, serial, self._reply(key, arguments)))

    def _reply(self, key: tuple[int, int], arguments: bytes) -> bytes:
        match key:
            case (0x20008086, 66):
                return struct.pack(f">I{len(self.auth)}i", len(self.auth), *self.auth)
            case (0x20008086, 273):
                packed = b"".join(domain.packed() for domain in self.domains)
                return struct.pack(">I", len(self.domains)) + packed + struct.pack(">I", len(self.domains))
            case (0x20008086, 212):
                return struct.pack(">ii", *self._domain(arguments).state)
            case (0x20008086, 229):
                waits = self._domain(arguments).waits
                return struct.pack(">IIq", 0 if waits is None else 2, 0, waits or 0)
        return struct.pack(">I", 1)

    def _ask(self, writer: asyncio.StreamWriter, serial: int, arguments: bytes) -> None:
        domain = self._domain(arguments)
        (size,) = struct.unpack(">I", arguments[:4])
        after = arguments[4 + size + -size % 4 + 20 :]
        (size,) = struct.unpack(">I", after[:4])
        command = json.loads(after[4 : 4 + size])
        assert "id" not in command, "libvirt refuses a command with an id"
        domain.asked.append(command["execute"])
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        if domain.hangs:
            self._held.append((writer, serial, domain, command["execute"]))
        else:
            self._answer(writer, serial, domain, command["execute"])

    def _answer(self, writer: asyncio.StreamWriter, serial: int, domain: Domain, command: str) -> None:
        self.in_flight -= 1
        if command in domain.answers:
            reply = {"return": domain.answers[command], "id": f"libvirt-{serial}"}
        else:
            reply = {"id": f"libvirt-{serial}", "error": {"class": "CommandNotFound", "desc": "no such command"}}
        writer.write(frame(QEMU, COMMAND, 1, serial, text(json.dumps(reply))))

    def _domain(self, arguments: bytes) -> Domain:
        (size,) = struct.unpack(">I", arguments[:4])
        name = arguments[4 : 4 + size].decode()
        return next((domain for domain in self.domains if domain.name == name), Domain(name))


STATUS = {"query-status": {"status": "running", "running": True, "singlestep": False}}
ANSWERS = {
    "query-version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""},
    "query-commands": [{"name": "query-status"}, {"name": "query-name"}, {"name": "query-uuid"}],
    "query-name": {"name": "web01"},
    **STATUS,
}
