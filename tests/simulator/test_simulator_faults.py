"""Every fault of a simulated monitor does what it says, and is over when it is healed."""

import asyncio

import pytest

from qmp_client import Client
from qmp_exporter.simulator import Monitor, faults


async def test_a_stalled_monitor_answers_nothing_until_it_is_healed(monitor, client):
    monitor.inject(faults.Stall())
    client.send(b'{"execute":"query-name"}{"execute":"query-uuid"}')
    await monitor.asked("query-uuid")
    assert not client.reader._buffer
    monitor.heal()
    assert "name" in (await client.message())["return"]
    assert "UUID" in (await client.message())["return"]


async def test_what_follows_a_stalled_command_waits_for_it(monitor, client):
    monitor.inject(faults.Stall("query-block"))
    assert "return" in await client.ask("query-name")
    client.send(b'{"execute":"query-block"}{"execute":"query-name","id":1}')
    await monitor.asked("query-name")
    assert not client.reader._buffer
    monitor.heal(faults.Stall("query-block"))
    assert isinstance((await client.message())["return"], list)
    assert (await client.message())["id"] == 1


async def test_what_follows_overtakes_where_the_order_may_change(monitor, client):
    monitor.inject(faults.Stall("query-block", in_order=False))
    client.send(b'{"execute":"query-block","id":1}{"execute":"query-name","id":2}')
    assert (await client.message())["id"] == 2
    monitor.heal()
    assert (await client.message())["id"] == 1


async def test_a_stall_with_a_time_is_a_slow_reply(monitor, client):
    loop = asyncio.get_running_loop()
    monitor.inject(faults.Stall(seconds=0.05))
    started = loop.time()
    client.send(b'{"execute":"query-name","id":1}{"execute":"query-name","id":2}')
    assert (await client.message())["id"] == 1
    assert (await client.message())["id"] == 2
    assert 0.1 <= loop.time() - started < 5


async def test_a_client_may_leave_while_its_command_hangs(monitor, client):
    monitor.inject(faults.Stall(seconds=1000))
    client.send(b'{"execute":"query-name"}')
    await monitor.asked("query-name")
    client.close()
    await monitor.vacant()
    monitor.heal()


async def test_commands_that_hang_when_the_vm_ends_are_never_answered(vm, monitor, client):
    monitor.inject(faults.Stall("system_reset"))
    client.send(b'{"execute":"system_reset"}')
    await monitor.asked("system_reset")
    vm.shutdown()
    assert (await client.message())["event"] == "SHUTDOWN"
    assert await client.rest() == b""


async def test_the_monitor_hangs_up_on_a_client_that_does_not_read(vm, monitor, client):
    for _ in range(20_000):
        vm.powerdown()
    await asyncio.sleep(0)  # the socket is full now, and most is still unsent
    monitor.inject(faults.HangUp())
    await monitor.vacant()
    assert (await client.rest()).count(b"POWERDOWN") < 20_000


async def test_no_greeting_is_made_up_for_when_healed(monitor):
    monitor.inject(faults.NoGreeting())
    async with await Client.connect(monitor.address) as client:
        client.send(b'{"execute":"qmp_capabilities"}')
        await asyncio.sleep(0.01)  # nothing is to happen, so there is nothing to wait for
        assert not client.reader._buffer
        monitor.heal()
        assert "QMP" in await client.message()


async def test_events_come_before_the_greeting(monitor):
    monitor.inject(faults.EarlyEvents("greeting", (("STOP", None), ("RESUME", None))))
    async with await Client.connect(monitor.address) as client:
        assert (await client.message())["event"] == "STOP"
        assert (await client.message())["event"] == "RESUME"
        await client.negotiate()


async def test_events_come_before_the_reply_to_qmp_capabilities(monitor):
    monitor.inject(faults.EarlyEvents("capabilities"))
    async with await Client.connect(monitor.address) as client:
        assert "QMP" in await client.message()
        assert (await client.ask("qmp_capabilities"))["event"] == "STOP"
        assert await client.message() == {"return": {}}


@pytest.mark.parametrize(
    "data", [faults.BAD_JSON, faults.INVALID_UTF8, faults.deep_nesting(), *faults.WRONG_TYPES, faults.BLANK_LINE]
)
async def test_garbage_is_written_as_it_is(monitor, client, data):
    monitor.inject(faults.Garbage(data))
    assert await client.reader.readexactly(len(data)) == data
    assert "return" in await client.ask("query-name")


async def test_a_long_line_is_a_message(monitor, client):
    monitor.inject(faults.Garbage(faults.long_line(1 << 20)))
    assert len((await client.message())["data"]["padding"]) == 1 << 20


async def test_garbage_waits_for_a_client(monitor):
    monitor.inject(faults.Garbage(b"rubbish"))
    async with await Client.connect(monitor.address) as client:
        await client.negotiate()
        assert await client.reader.readexactly(7) == b"rubbish"


async def test_garbage_comes_in_place_of_the_greeting(monitor):
    monitor.inject(faults.Garbage(b"220 mail.example.com ESMTP\r\n", at="greeting"))
    for _ in range(2):
        async with await Client.connect(monitor.address) as client:
            assert await client.reader.readline() == b"220 mail.example.com ESMTP\r\n"


async def test_garbage_comes_right_behind_the_negotiation(monitor):
    monitor.inject(faults.Garbage(b"rubbish", at="negotiated"))
    async with await Client.connect(monitor.address) as client:
        await client.negotiate()
        assert await client.reader.readexactly(7) == b"rubbish"


async def test_a_greeting_never_ends(monitor):
    monitor.inject(faults.Endless())
    async with await Client.connect(monitor.address) as client:
        read = await client.reader.readexactly(5 << 20)
        assert read.startswith(b'{"QMP"')
        assert b"\n" not in read


async def test_an_endless_line_ends_where_it_is_told_to(monitor, client):
    fault = faults.Endless(start=b"<", filler=b"xyz", limit=7, at="now")
    monitor.inject(fault)
    assert await client.reader.readexactly(8) == b"<xyzxyzx"
    assert "return" in await client.ask("query-name")


async def test_the_monitor_hangs_up_and_takes_the_next_client(monitor, client):
    monitor.inject(faults.HangUp())
    assert await client.rest() == b""
    async with await Client.connect(monitor.address) as again:
        await again.negotiate()


async def test_the_monitor_hangs_up_after_some_bytes(vm, monitor, client):
    monitor.inject(faults.HangUp(after_bytes=100))
    for _ in range(10):
        vm.powerdown()
    assert len(await client.rest()) == 100


async def test_the_monitor_hangs_up_in_the_middle_of_a_message(vm, monitor, client):
    monitor.inject(faults.HangUp(mid_message=True))
    vm.powerdown()
    rest = await client.rest()
    assert rest.startswith(b'{"timestamp"')
    assert not rest.endswith(b"}\r\n")


@pytest.mark.parametrize(("at", "messages"), [("greeting", 0), ("negotiated", 2)])
async def test_the_monitor_hangs_up_on_every_client_at_the_same_point(monitor, at, messages):
    monitor.inject(faults.HangUp(at=at))
    for _ in range(2):
        async with await Client.connect(monitor.address) as client:
            client.send(b'{"execute":"qmp_capabilities"}')
            assert (await client.rest()).count(b"\r\n") == messages


async def test_a_flood_comes_at_its_rate_and_ends_with_its_count(monitor, client):
    loop = asyncio.get_running_loop()
    started = loop.time()
    monitor.inject(faults.Flood(1000, count=100))
    for _ in range(100):
        assert (await client.message())["event"] == "BLOCK_IO_ERROR"
    assert 0.09 <= loop.time() - started < 5
    assert monitor.faults == []


async def test_a_flood_can_be_of_any_event_and_be_stopped(monitor, client):
    monitor.inject(faults.Flood(100_000, event="RTC_CHANGE", data={"offset": 1}))
    for _ in range(1000):
        assert (await client.message())["data"] == {"offset": 1}
    monitor.heal()
    client.send(b'{"execute":"query-name"}')
    while "return" not in await client.message():
        pass


async def test_a_reply_bears_an_id_that_nobody_sent(monitor, client):
    monitor.inject(faults.WrongId("query-name"))
    client.send(b'{"execute":"query-name","id":1}{"execute":"query-uuid","id":2}')
    assert (await client.message())["id"] == "nobody"
    assert (await client.message())["id"] == 2


async def test_a_reply_comes_that_nobody_asked_for(monitor: Monitor, client):
    monitor.inject(faults.StrayReply())
    monitor.inject(faults.StrayReply({"return": {}}))
    assert await client.message() == {"return": {}, "id": "nobody"}
    assert await client.message() == {"return": {}}
