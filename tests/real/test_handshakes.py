"""Sessions with a real monitor while VNC clients come and go -> all of ours are negotiated, no event is lost."""

import asyncio
import os
import time
from typing import NamedTuple

import pytest
from qemu.qmp import ConnectError, QMPClient

import provoke
from qmp_exporter.core.protocol import Protocol
from qmp_exporter.core.wire import BadMessage, Event, Greeting
from qmp_exporter.daemon.monitor.link import Link
from qmp_exporter.demo.machine import Machine, Vnc

pytestmark = pytest.mark.real

# The library had left before QEMU answered it, and QEMU answers the client that is there.
ANSWER_TO_ANOTHER = "a reply to nothing that was asked"
SESSIONS = int(os.environ.get("HANDSHAKES", "500"))


class Early(NamedTuple):
    """Events heard before the greeting (in a session of a hundred, or a thousand), and before commands were allowed."""

    before_greeting: int
    in_all: int


async def handshake(qemu):
    """-> what was heard until it was done"""
    heard, bad, versions = [], [], []

    def receive(messages):
        for message in messages:
            match message:
                case Event():
                    assert message.name.startswith("VNC_")
                    heard.append(not link.protocol.has_greeted)
                case Greeting(version):
                    versions.append(version)
                case BadMessage() if str(message) != ANSWER_TO_ANOTHER:
                    bad.append(message)

    link = Link(str(qemu.monitor), Protocol(frozenset(), time.monotonic()), receive=receive, ended=lambda: None)
    await link.open()
    early = Early(sum(heard), len(heard))
    await link.close()
    major, minor = provoke.version(qemu)
    assert versions[0].startswith(f"{major}.{minor}.")
    assert bad == []
    return early


async def stock_library_connects(qemu):
    client = QMPClient()
    try:
        await client.connect(str(qemu.monitor))
    except ConnectError:
        return False
    await client.disconnect()
    return True


async def test_no_handshake_fails_in_a_storm_that_fails_the_stock_library(boot, figure):
    """The two take turns, so that the storm is the same for both."""
    qemu = await boot(Machine(vnc=(Vnc(unix=True),)))
    clock = asyncio.get_running_loop().time
    early, failed = [], 0
    async with provoke.vnc_storm(qemu):
        began = clock()
        for _ in range(SESSIONS):
            early.append(await handshake(qemu))
            failed += not await stock_library_connects(qemu)
        took = clock() - began
    assert any(each.in_all for each in early), "the storm was too weak to be one"
    assert failed > 0
    figure(
        f"{SESSIONS} sessions of ours, none failed; {SESSIONS} of the stock library, {failed} failed; in {took:.1f} s; "
        f"{sum(each.in_all > 0 for each in early)} of ours heard events before they were negotiated, "
        f"{sum(each.before_greeting > 0 for each in early)} before the greeting"
    )


async def test_the_storm_into_which_an_exporter_connects_is_counted(boot, watch):
    qemu = await boot(Machine(vnc=(Vnc(unix=True),)))
    async with provoke.vnc_storm(qemu):
        exporter = await watch(qemu)

    page = await exporter.shows(clients_who_have_not_left)
    for what, event in (("connections", "VNC_CONNECTED"), ("disconnections", "VNC_DISCONNECTED")):
        assert page[f'qemu_events_total{{event="{event}"}}'] == page[f"qemu_vnc_{what}_total"] > 0


def clients_who_have_not_left(page):
    """By the counters, too: a gauge may be told by a reply that is late, as long as clients come and go."""
    if told := page.denials("qemu_vnc_clients 0\nqemu_vnc_sessions 0"):
        return told
    came, left = (page[f"qemu_vnc_{what}_total"] for what in ("connections", "disconnections"))
    return [f"{came} clients came, {left} left"] if came > left else []  # some came before the exporter
