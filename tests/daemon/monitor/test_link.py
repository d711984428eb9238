"""The link against a simulated monitor and against bare sockets; the internals of qemu.qmp that it leans on."""

import asyncio
import contextlib
import gc
import inspect
import socket
import struct
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from qemu.qmp import QMPClient, qmp_client
from qemu.qmp import protocol as library

from qmp_exporter.catalog.disk import QUERY_BLOCK
from qmp_exporter.catalog.vm import QUERY_STATUS
from qmp_exporter.core import protocol
from qmp_exporter.core.allow_list import AllowList
from qmp_exporter.core.family import Query
from qmp_exporter.core.protocol import MAX_LINE, Answer, Message, NotAllowed, Protocol
from qmp_exporter.core.wire import BadMessage, Event, Greeting
from qmp_exporter.daemon.monitor import link as link_module
from qmp_exporter.daemon.monitor.link import CHUNK, LEAST, READ_TIME, SIP, Link, Unreachable, address
from qmp_exporter.simulator import Monitor, SimulatedVm
from qmp_exporter.simulator.faults import EarlyEvents, Endless, Garbage, HangUp, NoGreeting
from watching import eventually

ALLOWED = AllowList((QUERY_STATUS, QUERY_BLOCK))
GREETING = (
    b'{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}\r\n'
)
NEGOTIATED = b'{"return": {}, "id": 0}\r\n'


class Ear:
    """Keeps what a link heard."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.bad: list[str] = []
        self.version = ""
        self.over = asyncio.Event()

    def link(self, socket: str | Path) -> Link:
        protocol = Protocol(ALLOWED, time.monotonic())
        return Link(str(socket), protocol, receive=self._receive, ended=self.over.set)

    def _receive(self, messages: list[Message]) -> None:
        for message in messages:
            match message:
                case Greeting(version):
                    self.version = version
                case BadMessage():
                    self.bad.append(message.reason)
                case _:
                    self.messages.append(message)

    @property
    def events(self) -> list[str]:
        return [message.name for message in self.messages if isinstance(message, Event)]

    @property
    def answered(self) -> list[Query]:
        return [message.query for message in self.messages if isinstance(message, Answer)]


@pytest.fixture
def ear() -> Ear:
    return Ear()


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def peer(directory: Path) -> AsyncIterator[Callable[[Serve], Awaitable[Path]]]:
    """A server that says just what a test has it say, byte for byte."""
    servers, writers = [], []

    async def serve_and_keep(serve: Serve, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await serve(reader, writer)

    async def start(serve: Serve, *, tcp: bool = False) -> str:
        keep = partial(serve_and_keep, serve)
        if tcp:
            servers.append(await asyncio.start_server(keep, "127.0.0.1", 0))
            return f"tcp:127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}"
        path = directory / "peer.sock"
        servers.append(await asyncio.start_unix_server(keep, path))
        return str(path)

    yield start
    for server in servers:
        server.close()
    for writer in writers:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_addresses_are_paths_abstract_names_and_tcp() -> None:
    assert address("/run/qmp/web01.sock") == "/run/qmp/web01.sock"
    assert address("@web01") == "\0web01"
    assert address("tcp:localhost:4444") == ("localhost", 4444)
    assert address("tcp:[::1]:4444") == ("::1", 4444)


async def test_the_greeting_tells_the_version(monitor: Monitor, ear: Ear) -> None:
    link = ear.link(monitor.address)
    await link.open()
    assert ear.version == ".".join(map(str, monitor.vm.version))
    assert link.is_open
    await link.close()
    assert not link.is_open


@pytest.mark.parametrize("where", ["@qmp-exporter-test-link", ("127.0.0.1", 0), ("::1", 0)])
async def test_abstract_and_tcp_sockets_work(vm: SimulatedVm, ear: Ear, where: str | tuple[str, int]) -> None:
    async with Monitor(vm, where) as monitor:
        name = where if isinstance(where, str) else f"tcp:[{where[0]}]:{monitor.address[1]}"
        link = ear.link(name)
        await link.open()
        await link.close()


@pytest.mark.parametrize("before", ["greeting", "capabilities"])
async def test_events_during_the_handshake_are_heard(monitor: Monitor, ear: Ear, before: str) -> None:
    monitor.inject(EarlyEvents(before, (("STOP", None), ("RESUME", None))))
    link = ear.link(monitor.address)
    await link.open()
    assert ear.events == ["STOP", "RESUME"]
    await link.close()


async def test_what_follows_the_negotiation_in_the_same_chunk_is_heard_in_order(peer, ear: Ear) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"event": "A"}\r\n' + GREETING + b'{"event": "B"}\r\n')
        await reader.readuntil(b"}")
        writer.write(b'{"event": "C"}\r\n' + NEGOTIATED + b'{"event": "D"}\r\n')

    link = ear.link(await peer(serve))
    await link.open()
    await eventually(lambda: ear.events == ["A", "B", "C", "D"])
    await link.close()


async def test_replies_and_events_keep_the_order_of_the_wire(peer, ear: Ear) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        await reader.readuntil(b"}")
        writer.write(NEGOTIATED)
        await reader.readuntil(b"}")
        writer.write(b'{"event": "A"}\r\n{"return": {}, "id": 1}\r\n{"event": "B"}\r\n')

    link = ear.link(await peer(serve))
    await link.open()
    link.ask(QUERY_STATUS)
    await eventually(lambda: len(ear.messages) == 3)
    assert [type(message) for message in ear.messages] == [Event, Answer, Event]
    await link.close()


async def test_commands_end_without_a_newline(peer, ear: Ear) -> None:
    """QEMU leaves it unread, and answers its end with a reset that hides what it said last."""
    sent = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        sent.extend(await reader.readuntil(b"}"))
        writer.write(NEGOTIATED)
        while chunk := await reader.read(1000):
            sent.extend(chunk)

    link = ear.link(await peer(serve))
    await link.open()
    link.ask(QUERY_STATUS)
    await eventually(lambda: b"query-status" in sent and sent.endswith(b"}"))
    assert b"\n" not in sent
    await link.close()


async def test_only_the_allow_list_leaves(monitor: Monitor, ear: Ear) -> None:
    link = ear.link(monitor.address)
    await link.open()
    for command in ("quit", "query-rx-filter", "query-commands", "system_reset"):
        with pytest.raises(NotAllowed):
            link.ask(Query(command, dict))
    link.ask(QUERY_STATUS)
    await eventually(lambda: ear.answered == [QUERY_STATUS])
    await link.close()
    assert [request.execute for request in monitor.received] == ["qmp_capabilities", "query-status"]


async def test_a_held_monitor_is_busy_and_the_waiting_connection_is_closed_at_once(
    monitor: Monitor, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "GREETING_DEADLINE", 0.1)
    holder = Ear().link(monitor.address)
    await holder.open()
    link = ear.link(monitor.address)
    with pytest.raises(Unreachable) as failure:
        await link.open()
    await link.close()
    assert failure.value.state == "busy"
    await holder.close()
    # Had the connection been left in the queue, it would own the monitor now and nobody else would be greeted.
    third = Ear().link(monitor.address)
    await third.open()
    await third.close()


async def test_silence_is_busy(monitor: Monitor, ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "GREETING_DEADLINE", 0.1)
    monitor.inject(NoGreeting())
    with pytest.raises(Unreachable, match="no greeting") as failure:
        await ear.link(monitor.address).open()
    assert failure.value.state == "busy"


async def test_a_flood_in_place_of_the_greeting_holds_up_nobody(
    monitor: Monitor, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "GREETING_DEADLINE", 0.3)
    monitor.inject(Endless(start=b"", filler=b'{"event": "STOP"}\r\n' * 5000))
    with pytest.raises(Unreachable) as failure:
        async with asyncio.timeout(5):
            await ear.link(monitor.address).open()
    assert failure.value.state == "error"
    assert len(ear.messages) > 5000


async def test_a_greeting_that_never_ends_is_given_up(
    monitor: Monitor, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "GREETING_DEADLINE", 0.3)
    monitor.inject(Endless())
    with pytest.raises(Unreachable) as failure:
        await ear.link(monitor.address).open()
    assert failure.value.state == "error"


async def test_who_speaks_another_protocol_is_not_called_busy_and_is_quoted(
    peer, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) ")
        await reader.read()

    monkeypatch.setattr(protocol, "GREETING_DEADLINE", 0.3)
    link = ear.link(await peer(serve))
    with pytest.raises(Unreachable, match=r"no QMP greeting.*QEMU 7\.2\.22 monitor") as failure:
        await link.open()
    assert failure.value.state == "error"
    assert link.protocol.first_words.endswith(b"(qemu) ")


async def test_a_greeting_without_negotiation_is_an_error(peer, ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        await reader.read()

    monkeypatch.setattr(protocol, "NEGOTIATION_DEADLINE", 0.1)
    with pytest.raises(Unreachable, match="did not negotiate") as failure:
        await ear.link(await peer(serve)).open()
    assert failure.value.state == "error"


async def test_no_socket_is_missing(directory: Path, ear: Ear) -> None:
    with pytest.raises(Unreachable) as failure:
        await ear.link(directory / "nothing.sock").open()
    assert failure.value.state == "missing"


async def test_a_socket_file_left_behind_is_refused(directory: Path, ear: Ear) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(directory / "left.sock"))
    with pytest.raises(Unreachable) as failure:
        await ear.link(directory / "left.sock").open()
    assert failure.value.state == "refused"


async def test_a_full_queue_of_waiting_clients_is_busy(directory: Path, ear: Ear) -> None:
    """asyncio says of such a socket that it is connected; the first read fails."""
    path = str(directory / "full.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(path)
        listener.listen(0)
        waiting.connect(path)
        with pytest.raises(Unreachable) as failure:
            await ear.link(path).open()
    assert failure.value.state == "busy"


async def test_a_path_that_no_socket_can_have_is_an_error(ear: Ear) -> None:
    with pytest.raises(Unreachable) as failure:
        await ear.link("/" + "x" * 200).open()
    assert failure.value.state == "error"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b'{"QMP": 5}\r\n',
        GREETING,
        GREETING + b'{"error": {"class": "x"}, "id": 0}\r\n',
    ],
    ids=["nothing", "another protocol", "a wrong greeting", "a greeting", "a refusal"],
)
async def test_a_peer_that_hangs_up_during_the_handshake_is_an_error(peer, ear: Ear, said: bytes) -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    with pytest.raises(Unreachable) as failure:
        await ear.link(await peer(serve)).open()
    assert failure.value.state == "error"


@pytest.mark.parametrize(
    ("rubbish", "reason"),
    [
        (b'{"event": STOP}\r\n', "json"),
        (b'{"event": "\xff"}\r\n', "utf8"),
        (b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\r\n", "depth"),
        (b'{"event": null}\r\n', "shape"),
        (b"[]\r\n", "shape"),
        (b"{" + b" " * MAX_LINE + b"}\r\n", "size"),
    ],
    ids=["json", "utf8", "depth", "null", "array", "size"],
)
async def test_rubbish_is_counted_and_the_session_goes_on(
    monitor: Monitor, ear: Ear, rubbish: bytes, reason: str
) -> None:
    link = ear.link(monitor.address)
    await link.open()
    monitor.inject(Garbage(rubbish))
    monitor.vm.stop()
    await eventually(lambda: ear.events == ["STOP"])
    assert ear.bad == [reason]
    await link.close()


async def test_the_end_inside_a_message_is_counted(monitor: Monitor, ear: Ear) -> None:
    link = ear.link(monitor.address)
    await link.open()
    monitor.inject(HangUp(mid_message=True))
    monitor.vm.stop()
    await ear.over.wait()
    await link.close()
    assert ear.bad == ["truncated"]
    assert isinstance(link.error, EOFError)


async def test_a_session_that_we_end_inside_a_message_ended_well(peer, ear: Ear) -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING + NEGOTIATED + b'{"event": "STOP"}\r\n{"event": ')

    link = ear.link(await peer(serve))
    await link.open()
    await eventually(lambda: ear.events == ["STOP"])
    await link.close()
    assert ear.over.is_set()
    assert ear.bad == []


async def test_a_session_that_is_over_as_it_begins_has_begun(peer, ear: Ear) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        await reader.readuntil(b"}")
        writer.write(NEGOTIATED)
        writer.close()

    path = await peer(serve)
    for _ in range(50):  # how much of it arrives in one turn of the event loop is chance
        link = ear.link(path)
        await link.open()
        assert ear.version == "7.2.22"
        await ear.over.wait()
        await link.close()
        assert isinstance(link.error, EOFError | ConnectionError)
        ear.over.clear()


async def test_what_was_said_before_a_reset_is_heard(peer, ear: Ear) -> None:
    """QEMU that ends with our query unread resets the connection; its SHUTDOWN came before."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        await reader.readuntil(b"}")
        writer.write(NEGOTIATED + b'{"event": "SHUTDOWN"}\r\n')
        await writer.drain()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    link = ear.link(await peer(serve, tcp=True))
    await link.open()
    await ear.over.wait()
    await link.close()
    assert ear.events == ["SHUTDOWN"]
    assert isinstance(link.error, ConnectionResetError)


async def test_the_more_have_something_to_say_the_less_is_read_of_each_at_a_time() -> None:
    """A storm over all monitors must leave the event loop turns for everything else."""
    streams = [link_module._Stream(asyncio.StreamReader(), lambda _: None) for _ in range(1000)]

    def read_all_in_turn() -> list[int]:
        portions = []
        for stream in streams:
            portions.append(len(stream.get_buffer(-1)))
            stream.buffer_updated(1)
        return portions

    read_all_in_turn()
    assert set(read_all_in_turn()) == {SIP}
    del streams[1:]
    assert read_all_in_turn()[0] == SIP, "the others may still have much to say"
    assert read_all_in_turn() == [CHUNK]


async def test_of_a_peer_whose_bytes_take_long_to_be_read_less_is_read_at_a_time() -> None:
    slow = link_module._Stream(asyncio.StreamReader(), lambda _: time.sleep(4 * READ_TIME))
    slow.buffer_updated(len(slow.get_buffer(-1)))
    assert len(slow.get_buffer(-1)) <= CHUNK / 4
    for _ in range(10):
        slow.buffer_updated(len(slow.get_buffer(-1)))
    assert len(slow.get_buffer(-1)) == LEAST
    slow._take = lambda _: None
    slow.buffer_updated(len(slow.get_buffer(-1)))
    assert len(slow.get_buffer(-1)) > LEAST


async def test_the_library_keeps_no_events_and_waits_for_nothing_to_send(monitor: Monitor, ear: Ear) -> None:
    """Stock, it keeps each event twice forever, some 2 KB, and a task and two queues for each VM, some 8 KB."""
    link = ear.link(monitor.address)
    await link.open()
    await monitor.storm(10_000)
    await eventually(lambda: len(ear.messages) == 10_000)
    assert not {"events", "_listeners", "_outgoing"} & vars(link).keys()
    assert link._writer_task is None
    await link.close()


OVERRIDDEN = {
    library.AsyncProtocol: {
        "_bh_recv_message": "(self) -> None",
        "_do_connect": "(self, address: Union[str, Tuple[str, int], socket.socket], "
        "ssl: Optional[ssl.SSLContext] = None) -> None",
        "_establish_session": "(self) -> None",
        "_schedule_disconnect": "(self) -> None",
    },
    qmp_client.QMPClient: {
        "_establish_session": "(self) -> None",
    },
}


@pytest.mark.parametrize(
    ("owner", "name", "signature"),
    [(owner, name, signature) for owner, methods in OVERRIDDEN.items() for name, signature in methods.items()],
)
def test_the_library_still_has_the_internals_that_are_replaced(owner: type, name: str, signature: str) -> None:
    method = owner.__dict__[name]
    assert str(inspect.signature(method)) == signature
    assert inspect.iscoroutinefunction(method) == (name != "_schedule_disconnect")
    assert name in Link.__dict__


async def test_the_library_still_works_the_way_the_link_leans_on() -> None:
    receive = inspect.getsource(library.AsyncProtocol._bh_loop_forever)
    assert "await async_fn()" in receive, "the reader calls _bh_recv_message, which the link replaces"
    establish = inspect.getsource(library.AsyncProtocol._establish_session)
    assert "self._bh_recv_message" in establish
    assert "self._bh_send_message" in establish
    assert "_set_state(Runstate.RUNNING)" in establish
    assert {"_reader", "_writer"} <= vars(QMPClient()).keys()


def test_the_library_still_has_the_internals_that_are_used() -> None:
    """The reader that we start ends the session through its loop, and is what disconnect() waits for."""
    loop = library.AsyncProtocol._bh_loop_forever
    assert list(inspect.signature(loop).parameters) == ["self", "async_fn", "name"]
    assert {"_bh_tasks", "_reader_task", "_writer_task"} <= vars(qmp_client.QMPClient()).keys()


async def test_nothing_is_kept_of_long_lines_of_a_peer_that_hangs_up_and_comes_again(ear, peer):
    """Without waiting for the garbage collection, which comes late."""
    size = 4 << 20

    async def endless(reader, writer):
        writer.write(GREETING)
        await reader.readuntil(b"}")
        writer.write(NEGOTIATED + b"x" * size)
        await writer.drain()
        writer.close()

    socket = await peer(endless)
    links = []
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(3):
            ear.over.clear()
            link = ear.link(socket)
            links.append(link)  # as a cycle would keep it
            await link.open()
            await ear.over.wait()
            await link.close()
        now, _ = tracemalloc.get_traced_memory()
        assert now < size
    finally:
        tracemalloc.stop()
        gc.enable()
    assert ear.bad == ["truncated"] * 3
