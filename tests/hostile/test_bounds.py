"""A peer that never runs out of something -> memory, series and time that stay where they are."""

import json
import time
from typing import Any

import pytest

from bounds import check_page, check_series, kept
from peer import GREETING, NEGOTIATED, Peer
from qmp_exporter.catalog import CATALOG
from recorded import Words

KEPT = 512 * 1024  # bytes that a VM may make us keep beside its samples
MOMENT = 1.5  # seconds of computing that one message may take from all other VMs

VNC = b'{"event": "VNC_%s", "data": {"client": {"family": "%s", "host": "h", "service": "%d"}}}\n'
IO_ERROR = (
    b'{"event": "BLOCK_IO_ERROR", "data": {"device": "%s", "node-name": "%s", "operation": "read", "action": "stop"}}\n'
)
TRAY = b'{"event": "DEVICE_TRAY_MOVED", "data": {"device": "%s", "id": "", "tray-open": true}}\n'
JOB = b'{"event": "BLOCK_JOB_COMPLETED", "data": {"device": "j", "type": "%s", "len": 1, "offset": 1, "speed": 0}}\n'
LONG = b"x" * 100_000
WORDS = Words()


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(lambda n: b'{"event": "EVENT_%d"}\n' % n, id="names of events"),
        pytest.param(lambda n: VNC % (b"CONNECTED", b"ipv4", n), id="clients that come"),
        pytest.param(lambda n: VNC % (b"INITIALIZED", b"ipv4", n), id="clients that log in"),
        pytest.param(lambda n: VNC % ((b"CONNECTED", b"DISCONNECTED")[n % 2], b"ipv4", n), id="clients that go"),
        pytest.param(lambda n: VNC % (b"CONNECTED", LONG, n) if n < 300 else b"{}", id="long names of clients"),
        pytest.param(lambda n: IO_ERROR % (b"disk%d" % n, b""), id="disks"),
        pytest.param(lambda n: IO_ERROR % (b"", b"node%d" % n), id="nodes"),
        pytest.param(lambda n: IO_ERROR % (b"", b"%d" % n + LONG) if n < 300 else b"{}", id="long names of nodes"),
        pytest.param(lambda n: TRAY % (b"tray%d" % n), id="trays"),
        pytest.param(lambda n: JOB % (b"type%d" % n), id="types of jobs"),
        pytest.param(lambda n: b'{"return": {}, "id": %d}\n' % (10**6 + n), id="replies to nothing"),
        pytest.param(lambda n: b'{"event": "%s"}\n' % (b"A" * n), id="longer and longer names"),
    ],
)
def test_what_never_runs_out_is_not_kept(message):
    peer = Peer()
    peer.greets()
    for number in range(5000):
        peer.says(message(number))
    assert sum(kept(peer.vm, peer.watch.session).values()) < KEPT, kept(peer.vm, peer.watch.session)
    check_series(peer.vm)
    check_page(peer.vm)


DISK = (
    b'{"device": "d%d", "qdev": "q%d", "removable": true, "tray_open": true, "io-status": "ok", '
    b'"stats": {"rd_bytes": 1, "rd_operations": 1, "wr_operations": 1}}'
)
HISTOGRAM = b'{"boundaries": [%s], "bins": [%s]}' % (b",".join(b"%d" % n for n in range(1, 12)), b",".join([b"1"] * 12))
MEASURED = b'{"device": "d%%d", "qdev": "q%%d", "stats": {"rd_bytes": 1, "rd_latency_histogram": %s}}' % HISTOGRAM
JOBS = b'{"device": "j%d-%d", "type": "mirror", "len": 1, "offset": 1, "speed": 1, "status": "running"}'
THINGS = {
    "query-block": DISK,
    "query-blockstats": DISK,
    "query-blockstats with histograms": MEASURED,
    "query-block-jobs": JOBS,
    "query-vnc-servers": b'{"clients": [{"family": "ipv4", "host": "h%d", "service": "%d"}]}',
    "query-commands": b'{"name": "query-%d-%d"}',
}


@pytest.mark.parametrize("number", [4000, 60_000])
@pytest.mark.parametrize("command", THINGS)
def test_a_long_reply_takes_a_moment_and_leaves_little_behind(command, number):
    peer = asked(command.partition(" ")[0])
    things = b",".join(THINGS[command] % (n, n) for n in range(number))
    reply = b'{"return": [%s], "id": %d}\n' % (things, peer.asked[-1][1])
    began = time.process_time()
    peer.says(reply)
    assert time.process_time() - began < MOMENT
    assert sum(kept(peer.vm, peer.watch.session).values()) < KEPT, kept(peer.vm, peer.watch.session)
    check_series(peer.vm)
    check_page(peer.vm)


def swollen(value: Any) -> Any:
    """The same with an enormous word in the place of every word."""
    if isinstance(value, dict):
        return {name: swollen(one) for name, one in value.items()}
    if isinstance(value, list):
        return [swollen(one) for one in value]
    return "w" * 2 * KEPT if isinstance(value, str) else value


@pytest.mark.parametrize("command", sorted((CATALOG.commands & WORDS.answers.keys()) - {"query-commands"}))
def test_enormous_words_in_a_reply_are_not_kept(command):
    peer = asked(command)
    answer = swollen(max(WORDS.answers[command], key=lambda answer: len(str(answer))))
    peer.says(json.dumps({**answer, "id": peer.asked[-1][1]}).encode() + b"\n")
    assert sum(kept(peer.vm, peer.watch.session).values()) < KEPT, kept(peer.vm, peer.watch.session)
    check_series(peer.vm)


@pytest.mark.parametrize("digits", [1, 20, 400, 4299, 5000, 100_000])
def test_no_version_is_too_high(digits):
    peer = Peer()
    peer.says(GREETING.replace(b"10", b"9" * digits))
    peer.says(GREETING)
    peer.says(NEGOTIATED)
    assert peer.open
    check_page(peer.vm)
    assert sum(kept(peer.vm, peer.watch.session).values()) < KEPT, kept(peer.vm, peer.watch.session)


def asked(command: str) -> Peer:
    """A peer that was asked this a moment ago, and has answered all before it with an error."""
    peer = Peer()
    peer.greets()
    newer = {query.instead_of_newer for query in CATALOG.queries if query.command == command}
    has = [{"name": name} for name in CATALOG.commands - newer]
    for _ in range(100):
        if peer.asked and peer.asked[-1][0] == command:
            return peer
        if peer.asked:
            answered, identifier = peer.asked.pop()
            error = {"error": {"class": "GenericError", "desc": ""}}
            answer = {"return": has} if answered == "query-commands" else error
            peer.says(json.dumps({**answer, "id": identifier}).encode() + b"\n")
        else:
            peer.turn(1.0)
    pytest.fail(f"{command} was never asked")
