"""A simulated monitor serves its clients as QEMU does: one at a time, greeting first, events to those who asked."""

import asyncio
import json

import pytest
from qemu.qmp import QMPClient

from qmp_client import Client
from qmp_exporter.simulator import (
    COMMANDS,
    HEADLESS_COMMANDS,
    STORAGE_DAEMON_COMMANDS,
    Monitor,
    SimulatedVm,
    SpiceServer,
)


async def test_the_stock_client_connects_executes_and_gets_events(vm, monitor):
    client = QMPClient("test")
    await client.connect(str(monitor.address))
    assert await client.execute("query-name") == {"name": "web01"}
    vm.stop()
    assert (await client.events.get())["event"] == "STOP"
    assert await client.execute("query-status") == {"status": "paused", "running": False}
    await client.disconnect()


async def test_a_second_client_waits_until_the_first_has_left(monitor):
    first = await Client.connect(monitor.address)
    await first.negotiate()
    async with await Client.connect(monitor.address) as second:
        second.send(b'{"execute":"qmp_capabilities"}')
        # The first is served meanwhile, and the second still has nothing to read.
        assert "return" in await first.ask("query-status")
        assert not second.reader._buffer
        first.close()
        assert "QMP" in await second.message()
        assert await second.message() == {"return": {}}


async def test_a_client_that_gave_up_waiting_is_not_in_the_way(monitor):
    first = await Client.connect(monitor.address)
    await first.negotiate()
    second = await Client.connect(monitor.address)
    second.close()
    third = await Client.connect(monitor.address)
    first.close()
    await third.negotiate()
    third.close()


async def test_the_greeting_is_what_qemu_sends(path):
    vm = SimulatedVm("web01", version=(7, 2, 22), package="Debian 1:7.2")
    async with Monitor(vm, path), await Client.connect(path) as client:
        assert await client.reader.readline() == (
            b'{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2"}, '
            b'"capabilities": ["oob"]}}\r\n'
        )


async def test_before_the_negotiation_nothing_else_is_answered(monitor):
    async with await Client.connect(monitor.address) as client:
        await client.message()
        reply = await client.ask("query-status")
        assert reply["error"] == {
            "class": "CommandNotFound",
            "desc": "Expecting capabilities negotiation with 'qmp_capabilities'",
        }
        assert "error" in await client.ask("qmp_capabilities", enable=["foo"])
        assert "return" in await client.ask("qmp_capabilities", enable=["oob"])


async def test_events_before_the_negotiation_are_lost(vm, monitor):
    async with await Client.connect(monitor.address) as client:
        await client.message()
        vm.stop()
        assert await client.ask("qmp_capabilities") == {"return": {}}
        vm.cont()
        assert (await client.message())["event"] == "RESUME"


async def test_an_order_is_answered_after_its_events(client):
    assert (await client.ask("stop"))["event"] == "STOP"
    assert await client.message() == {"return": {}}


async def test_an_event_bears_the_time_of_the_vm(path):
    vm = SimulatedVm("web01", clock=lambda: 1000.25)
    async with Monitor(vm, path), await Client.connect(path) as client:
        await client.negotiate()
        vm.powerdown()
        assert await client.reader.readline() == (
            b'{"timestamp": {"seconds": 1000, "microseconds": 250000}, "event": "POWERDOWN"}\r\n'
        )


async def test_ids_come_back_as_they_were(client):
    for given in (1, "x", [1], {"a": None}, None):
        client.send(json.dumps({"execute": "query-name", "id": given}).encode())
        assert await client.message() == {"return": {"name": "web01"}, "id": given}


async def test_commands_in_single_bytes_without_a_newline_are_understood(monitor, client):
    for byte in b'{"execute":"query-name"}{"execute":"query-status"}':
        client.send(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await client.message())["return"] == {"name": "web01"}
    assert (await client.message())["return"]["status"] == "running"
    assert [request.execute for request in monitor.received][-2:] == ["query-name", "query-status"]


async def test_every_query_is_answered(path):
    vm = SimulatedVm("web01", spice=SpiceServer())
    async with Monitor(vm, path), await Client.connect(path) as client:
        await client.negotiate()
        listed = {each["name"] for each in (await client.ask("query-commands"))["return"]}
        assert listed == COMMANDS.keys()
        for name in COMMANDS:
            if name.startswith("query-"):
                assert "return" in await client.ask(name)


@pytest.mark.parametrize("commands", [HEADLESS_COMMANDS, STORAGE_DAEMON_COMMANDS])
async def test_commands_can_be_left_out(path, commands):
    async with Monitor(SimulatedVm("web01", commands=commands), path), await Client.connect(path) as client:
        await client.negotiate()
        listed = {each["name"] for each in (await client.ask("query-commands"))["return"]}
        assert listed == commands | {"qmp_capabilities"}
        for name in COMMANDS.keys() - listed:
            assert (await client.ask(name))["error"]["class"] == "CommandNotFound"


async def test_a_monitor_drives_its_vm_as_that_of_a_real_qemu(vm, client):
    orders = [
        ("block-job-set-speed", {"device": "mirror0", "speed": 5}),
        ("watchdog-set-action", {"action": "none"}),
        ("blockdev-open-tray", {"id": "ide0-1-0"}),
        ("blockdev-close-tray", {"device": "drive-ide0-1-0"}),
        ("eject", {"device": "drive-ide0-1-0"}),
        ("block-job-cancel", {"device": "mirror0"}),
        ("stop", {}),
        ("system_reset", {}),
        ("cont", {}),
        ("system_powerdown", {}),
    ]
    vm.start_job("mirror", speed=1)
    assert [(await client.message())["data"]["status"] for _ in range(2)] == ["created", "running"]
    events = []
    for name, arguments in orders:
        reply = await client.ask(name, **arguments)
        while "event" in reply:
            events.append(reply["event"])
            reply = await client.message()
        assert reply == {"return": {}}
    cancelled = ["JOB_STATUS_CHANGE", "BLOCK_JOB_CANCELLED", "JOB_STATUS_CHANGE", "JOB_STATUS_CHANGE"]
    assert events == [
        *["DEVICE_TRAY_MOVED"] * 3,
        *cancelled,
        *["STOP", "RESET", "RESUME", "POWERDOWN"],
    ]
    assert vm.watchdog_action == "none"
    assert not vm.block("ide0-1-0").inserted


async def test_a_vm_that_has_shut_down_must_be_reset_before_it_goes_on(path):
    vm = SimulatedVm("web01", no_shutdown=True)
    vm.shutdown()
    async with Monitor(vm, path), await Client.connect(path) as client:
        await client.negotiate()
        assert (await client.ask("cont"))["error"]["desc"] == "Resetting the Virtual Machine is required"


async def test_a_locked_drive_is_opened_by_force_only(vm, client):
    vm.block("ide0-1-0").locked = True
    assert "is locked" in (await client.ask("eject", id="ide0-1-0"))["error"]["desc"]
    assert (await client.ask("eject", id="ide0-1-0", force=True))["event"] == "DEVICE_TRAY_MOVED"


async def test_quit_is_answered_and_then_the_connection_ends(vm, client, path):
    assert (await client.ask("quit"))["data"] == {"guest": False, "reason": "host-qmp-quit"}
    assert await client.message() == {"return": {}}
    assert await client.rest() == b""
    assert vm.exited
    assert not path.exists()


async def test_a_killed_vm_leaves_its_socket_file_behind(vm, client, path):
    vm.kill()
    assert await client.rest() == b""
    assert path.exists()
    with pytest.raises(ConnectionRefusedError):
        await Client.connect(path)
    async with Monitor(SimulatedVm("web01"), path), await Client.connect(path) as again:
        await again.negotiate()


async def test_all_monitors_hear_of_an_event_and_any_may_give_orders(vm, client, path):
    async with Monitor(vm, f"{path}2") as other, await Client.connect(other.address) as second:
        await second.negotiate()
        await second.ask("stop")
        assert (await client.message())["event"] == "STOP"


@pytest.mark.parametrize("address", ["@qmp-simulator-test", ("127.0.0.1", 0), ("::1", 0)])
async def test_a_monitor_listens_on_abstract_sockets_and_tcp(vm, address):
    async with Monitor(vm, address) as monitor, await Client.connect(monitor.address) as client:
        await client.negotiate()


async def test_a_pretty_monitor_spreads_its_messages_over_lines(vm, path):
    async with Monitor(vm, path, pretty=True), await Client.connect(path) as client:
        assert await client.reader.readline() == b"{\r\n"


async def test_output_that_nobody_reads_stops_neither_vm_nor_monitor(vm, monitor, client):
    for _ in range(20_000):  # some 5 MB, far more than a socket holds
        vm.io_error("virtio-disk0")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(monitor.drain())
        for _ in range(20_000):
            assert (await client.message())["event"] == "BLOCK_IO_ERROR"
    assert (await client.ask("query-name"))["return"] == {"name": "web01"}


async def test_a_storm_arrives_in_full_and_is_counted(vm, monitor, client):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(monitor.storm(10_000, "virtio-disk1"))
        for _ in range(10_000):
            assert (await client.message())["data"]["device"] == "drive-virtio-disk1"
    assert vm.block("virtio-disk1").counters["failed_wr_operations"] == 10_000


async def test_the_events_of_a_burst_are_what_the_vm_itself_would_send(path):
    vm = SimulatedVm("web01", clock=lambda: 1000.25)
    async with Monitor(vm, path) as monitor, await Client.connect(path) as client:
        await client.negotiate()
        monitor.burst(2, "virtio-disk1")
        vm.io_error("virtio-disk1", "write", "report")
        first, second, own = [await client.reader.readline() for _ in range(3)]
        assert first == second == own


async def test_a_storm_ends_when_its_client_leaves(monitor, client):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(monitor.storm(1_000_000))
        await client.message()
        client.close()
    await monitor.vacant()


async def test_a_test_can_wait_for_a_client_and_for_its_question(vm, path):
    async with Monitor(vm, path) as monitor, asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(monitor.asked("query-name"))
        negotiated = tasks.create_task(monitor.negotiated())
        async with await Client.connect(path) as client:
            await client.negotiate()
            await client.ask("query-name")
            assert await negotiated is monitor.session
            assert (await asked).execute == "query-name"
        await monitor.vacant()
        assert monitor.sessions == []


async def test_only_the_last_commands_are_remembered(vm, path):
    async with Monitor(vm, path, received_limit=2) as monitor, await Client.connect(path) as client:
        await client.negotiate()
        for name in ("query-name", "query-uuid", "query-status"):
            await client.ask(name)
        assert [request.execute for request in monitor.received] == ["query-uuid", "query-status"]
