"""Two hundred sessions with a real monitor while VNC clients come and go -> all are negotiated, no event is lost."""

import asyncio
from typing import NamedTuple

import pytest

import provoke
from qmp_exporter.core.wire import Event
from qmp_exporter.daemon.link import Link
from qmp_exporter.demo.machine import Machine, Vnc

pytestmark = pytest.mark.real

SESSIONS = 200


class Early(NamedTuple):
    """Events heard before the greeting (in a session of a hundred, or a thousand), and before commands were allowed."""

    before_greeting: int
    in_all: int


async def handshake(qemu):
    """-> what was heard until it was done"""
    heard, bad = [], []

    def hear(message):
        assert isinstance(message, Event)
        assert message.name.startswith("VNC_")
        heard.append(link._hello is None)

    link = Link(str(qemu.monitor), frozenset(), hear=hear, bad=bad.append, ended=lambda: None)
    greeting = await link.open()
    early = Early(sum(heard), len(heard))
    await link.close()
    version = qemu.greeting["version"]["qemu"]
    assert greeting.version == f"{version['major']}.{version['minor']}.{version['micro']}"
    assert bad == []
    return early


async def test_no_handshake_fails_in_a_storm_and_early_events_are_heard(boot, figure):
    qemu = await boot(Machine(vnc=(Vnc(unix=True),)))
    clock = asyncio.get_running_loop().time
    async with provoke.vnc_storm(qemu):
        began = clock()
        early = [await handshake(qemu) for _ in range(SESSIONS)]
        took = clock() - began
    assert any(each.in_all for each in early), "the storm was too weak to be one"
    events = sum(event.name.startswith("VNC_") for event in qemu.events)
    figure(
        f"{SESSIONS} sessions in {took:.1f} s amid {events} events; {sum(each.in_all > 0 for each in early)} heard "
        f"some before they were negotiated, {sum(each.before_greeting > 0 for each in early)} before the greeting"
    )


async def test_the_storm_into_which_an_exporter_connects_is_counted(boot, watch):
    qemu = await boot(Machine(vnc=(Vnc(unix=True),)))
    async with provoke.vnc_storm(qemu):
        exporter = await watch(qemu)
    page = await exporter.says("qemu_vnc_clients 0\nqemu_vnc_sessions 0")
    connected, disconnected = (page[f"qemu_vnc_{what}_total"] for what in ("connections", "disconnections"))
    assert page['qemu_events_total{event="VNC_CONNECTED"}'] == connected > 0
    assert page['qemu_events_total{event="VNC_DISCONNECTED"}'] == disconnected > 0
    assert connected <= disconnected  # those connected before the exporter are only seen to leave
