"""Real VNC and SPICE clients that come and go -> the page; polls are an hour apart."""

import pytest

import provoke
from qmp_exporter.demo.machine import Machine, Vnc

pytestmark = pytest.mark.real

TRANSPORT = pytest.mark.parametrize("vnc", [Vnc(), Vnc(unix=True)], ids=["tcp", "unix"])


def vnc_says(clients: int, sessions: int, connected: int, initialized: int, disconnected: int) -> str:
    return f"""
        qemu_vnc_clients {clients}
        qemu_vnc_sessions {sessions}
        qemu_vnc_connections_total {connected}
        qemu_vnc_initializations_total {initialized}
        qemu_vnc_disconnections_total {disconnected}
    """


@TRANSPORT
async def test_a_vnc_client_that_logs_in(boot, watch, vnc):
    qemu = await boot(Machine(vnc=(vnc,)))
    exporter = await watch(qemu)
    await exporter.says(vnc_says(0, 0, 0, 0, 0))
    async with provoke.vnc_session(qemu):
        await exporter.says(vnc_says(1, 1, 1, 1, 0))
    await exporter.says(vnc_says(0, 0, 1, 1, 1))


@TRANSPORT
async def test_a_vnc_client_that_never_logs_in(boot, watch, vnc):
    qemu = await boot(Machine(vnc=(vnc,)))
    exporter = await watch(qemu)
    async with provoke.vnc_visit(qemu):
        await exporter.says(vnc_says(1, 0, 1, 0, 0))
    await exporter.says(vnc_says(0, 0, 1, 0, 1))


async def test_a_vnc_login_that_fails(boot, watch):
    qemu = await boot(Machine(vnc=(Vnc(password=True),)))
    exporter = await watch(qemu)
    await exporter.says(vnc_says(0, 0, 0, 0, 0))
    await provoke.vnc_failed_login(qemu)
    await exporter.says(vnc_says(0, 0, 1, 0, 1))


async def test_vnc_clients_of_all_displays_are_counted_together(boot, watch):
    """Behind the unix socket, no client can be told from another."""
    qemu = await boot(Machine(vnc=(Vnc(), Vnc(unix=True))))
    exporter = await watch(qemu)
    async with provoke.vnc_session(qemu, 0), provoke.vnc_session(qemu, 1):
        await exporter.says(vnc_says(2, 2, 2, 2, 0))
        async with provoke.vnc_visit(qemu, 1):
            await exporter.says(vnc_says(3, 2, 3, 2, 0))
        await exporter.says(vnc_says(2, 2, 3, 2, 1))
    await exporter.says(vnc_says(0, 0, 3, 2, 3))


async def test_a_vnc_client_that_was_there_first_is_seen_and_forgotten(boot, watch):
    qemu = await boot(Machine(vnc=(Vnc(),)))
    async with provoke.vnc_session(qemu):
        exporter = await watch(qemu)
        await exporter.says(vnc_says(1, 1, 0, 0, 0))
    await exporter.says(vnc_says(0, 0, 0, 0, 1))


async def test_nobody_s_address_is_on_the_page(boot, watch):
    qemu = await boot(Machine(vnc=(Vnc(),)))
    exporter = await watch(qemu)
    async with provoke.vnc_session(qemu):
        page = await exporter.says(vnc_says(1, 1, 1, 1, 0))
    client = qemu.events[0].data["client"]
    assert client["host"] not in page.text
    assert f'"{client["service"]}"' not in page.text


@pytest.mark.usefixtures("spice_client")
async def test_a_spice_session_has_several_channels(boot, watch):
    qemu = await boot(Machine(spice=True))
    exporter = await watch(qemu)
    await exporter.says("""
        qemu_spice_sessions 0
        qemu_spice_channels 0
        qemu_spice_connections_total 0
        qemu_spice_initializations_total 0
        qemu_spice_disconnections_total 0
    """)
    async with provoke.spice_session(qemu):
        await exporter.says("""
            qemu_spice_sessions 1
            qemu_spice_channels 4
            qemu_spice_connections_total 4
            qemu_spice_initializations_total 4
            qemu_spice_disconnections_total 0
        """)
    await exporter.says("""
        qemu_spice_sessions 0
        qemu_spice_channels 0
        qemu_spice_connections_total 4
        qemu_spice_initializations_total 4
        qemu_spice_disconnections_total 4
    """)
