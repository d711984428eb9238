"""The simulator cuts its input into JSON texts as QEMU does, and says what is wrong with them in QEMU's words."""

import socket
import subprocess
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parts import need
from qmp_client import Client
from qmp_exporter.simulator import Monitor, SimulatedVm
from qmp_exporter.simulator.wire import JsonStream, QmpError, Request, parse_request

COMMANDS = b'{"execute":"query-name"} {"execute":"stop","id":"}\\"{"}[1,{"a":"\\\\"}]null \r\n"x"5 {"execute":"cont"}'
TEXTS = [
    b'{"execute":"query-name"}',
    b'{"execute":"stop","id":"}\\"{"}',
    b'[1,{"a":"\\\\"}]',
    b"null",
    b'"x"',
    b"5",
    b'{"execute":"cont"}',
]


def test_texts_need_nothing_between_them():
    assert list(JsonStream().feed(COMMANDS)) == TEXTS


@pytest.mark.parametrize("cut", range(len(COMMANDS)))
def test_a_stream_may_be_cut_at_every_byte(cut):
    stream = JsonStream()
    assert [*stream.feed(COMMANDS[:cut]), *stream.feed(COMMANDS[cut:])] == TEXTS


@given(st.lists(st.integers(0, len(COMMANDS))))
def test_a_stream_may_be_cut_anywhere(cuts):
    stream = JsonStream()
    edges = [0, *sorted(cuts), len(COMMANDS)]
    pieces = [COMMANDS[a:b] for a, b in pairwise(edges)]
    assert [text for piece in pieces for text in stream.feed(piece)] == TEXTS


def test_a_long_text_in_single_bytes_costs_no_more_than_its_length():
    def seconds(size):
        stream, started = JsonStream(), time.perf_counter()
        for byte in b'{"a":"' + b"x" * size + b'"}':
            list(stream.feed(bytes((byte,))))
        return time.perf_counter() - started

    short = min(seconds(10_000) for _ in range(3))
    assert seconds(100_000) < 50 * short  # ten times if linear, a hundred times if quadratic


def test_what_nests_too_deep_is_given_up():
    stream = JsonStream()
    first, *_ = stream.feed(b"[" * 2000)
    assert isinstance(first, QmpError)
    assert first.desc == "JSON nesting depth limit exceeded"


def test_a_request_keeps_its_id_whatever_it_is():
    assert parse_request(b'{"execute":"stop","id":null}') == Request("stop", {}, {"id": None})
    assert parse_request(b'{"execute":"stop"}') == Request("stop", {}, {})


# What clients may send, and how a real QEMU 7.2 was seen to answer.
ANSWERS = {
    b'{"execute":"query-nope","id":1}': "The command query-nope has not been found",
    b"[]": "QMP input must be a JSON object",
    b"5 ": "QMP input must be a JSON object",
    b'"x"': "QMP input must be a JSON object",
    b"{}": "QMP input lacks member 'execute'",
    b'{"id":1}': "QMP input lacks member 'execute'",
    b'{"x":1}': "QMP input member 'x' is unexpected",
    b'{"execute":1,"id":[1]}': "QMP input member 'execute' must be a string",
    b'{"execute":"stop","arguments":5}': "QMP input member 'arguments' must be an object",
    b'{"execute":"stop","arguments":{"a":1}}': "Parameter 'a' is unexpected",
    b'{"execute":"stop","foo":5,"id":9}': "QMP input member 'foo' is unexpected",
    b"}": "JSON parse error, expecting value",
    b"[1,]": "JSON parse error, expecting value",
    b'{"a" 1}': "JSON parse error, missing : in object pair",
    b'{"a": xx}': "JSON parse error, invalid keyword 'xx'",
    b"nope ": "JSON parse error, invalid keyword 'nope'",
    b'{"a":1,}': "JSON parse error, expecting value",
    b'{"a":1 "b":2}': "JSON parse error, expected separator in dict",
    b"[1 2]": "JSON parse error, expected separator in list",
    b"{1:2}": "JSON parse error, key is not a string in object",
    b'["\xc0\xaf"]': "JSON parse error, invalid UTF-8 sequence in string",
    b'{"a":"\\x"}': "JSON parse error, invalid escape sequence in string",
    b'{"execute":"query-status","execute":"stop"}': "JSON parse error, duplicate key",
    b'{"execute":"query-balloon"}': "No balloon device has been activated",
    b'{"execute":"eject","arguments":{"id":"zz"}}': "Device 'zz' not found",
    b'{"execute":"eject"}': "Need exactly one of 'device' and 'id'",
    b'{"execute":"eject","arguments":{"id":"x","device":"y"}}': "Need exactly one of 'device' and 'id'",
    b'{"execute":"eject","arguments":{"id":5}}': "Invalid parameter type for 'id', expected: string",
    b'{"execute":"eject","arguments":{"id":"","force":1}}': "Invalid parameter type for 'force', expected: boolean",
    b'{"execute":"eject","arguments":{"id":"x","foo":5}}': "Parameter 'foo' is unexpected",
    b'{"execute":"eject","arguments":{"device":"drive-virtio-disk0"}}': "Device 'drive-virtio-disk0' is not removable",
    b'{"execute":"block-job-cancel","arguments":{"device":"zz"}}': "Block job 'zz' not found",
    b'{"execute":"block-job-cancel"}': "Parameter 'device' is missing",
    b'{"execute":"block-job-set-speed","arguments":{"device":"zz","speed":"1"}}': (
        "Invalid parameter type for 'speed', expected: integer"
    ),
    b'{"execute":"watchdog-set-action","arguments":{"action":"zz"}}': ("Parameter 'action' does not accept value 'zz'"),
    b'{"execute":"watchdog-set-action"}': "Parameter 'action' is missing",
    b'{"execute":"qmp_capabilities"}': "Capabilities negotiation is already complete, command ignored",
}


@pytest.mark.parametrize("sent", ANSWERS)
async def test_errors_are_worded_as_by_qemu(path, sent):
    async with Monitor(SimulatedVm("web01", balloon=None), path), await Client.connect(path) as client:
        await client.negotiate()
        client.send(sent)
        assert (await client.message())["error"]["desc"] == ANSWERS[sent]


@pytest.fixture(scope="module")
def qemu(tmp_path_factory):
    """A real QEMU's monitor, past the negotiation: a function from bytes to the reply."""
    binary = need("qemu-system-x86_64")
    path = tmp_path_factory.mktemp("q") / "q"
    disk = "null-co,size=1048576,if=none,id=drive-virtio-disk0"
    arguments = ["-display", "none", "-machine", "accel=tcg", "-S", "-nodefaults", "-m", "32"]
    arguments += ["-drive", f"driver={disk}", "-device", "virtio-blk-pci,drive=drive-virtio-disk0"]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        command = [binary, *arguments, "-chardev", f"socket,id=m,path={path}"]
        with subprocess.Popen([*command, "-mon", "chardev=m,mode=control"]) as process:
            connection, _ = listener.accept()
            connection.settimeout(20)
            with connection, connection.makefile("rb") as lines:
                lines.readline()

                def ask(sent):
                    connection.sendall(sent)
                    return lines.readline()

                ask(b'{"execute":"qmp_capabilities"}')
                yield ask
            process.terminate()


@pytest.mark.real
@pytest.mark.parametrize("sent", ANSWERS)
async def test_a_real_qemu_answers_the_same(path, qemu, sent):
    async with Monitor(SimulatedVm("web01", balloon=None), path), await Client.connect(path) as client:
        await client.negotiate()
        client.send(sent)
        assert await client.reader.readline() == qemu(sent)
