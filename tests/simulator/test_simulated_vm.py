"""What happens to a simulated VM shows the same events and states as the same thing in the recorded sessions."""

import pytest

from qmp_exporter.simulator import Event, SimulatedVm, SpiceServer, VncServer, disk
from qmp_exporter.simulator.commands import execute
from qmp_exporter.simulator.wire import Request
from shape import VERSIONS, keyed, sessions, story

every_version = pytest.mark.parametrize("version", VERSIONS)


class Told:
    """A VM's own story, told as `story` tells the recorded ones: events, and states where it is asked."""

    def __init__(self, version, **options):
        self.vm = SimulatedVm("web01", version=VERSIONS[version], **options)
        self.story = []
        self.vm.on_event.append(lambda event: self.story.append((event.name, event.data)))
        self.ask()  # the recorded sessions begin so

    def ask(self):
        self.story.append(self.vm.run_state)

    def names(self):
        return [each if isinstance(each, str) else each[0] for each in self.story]


def with_one_firmware_reset(told):
    """SeaBIOS of 7.2 resets itself once or twice, as chance has it; the simulated firmware does so once."""
    pairs = zip([None, *told], told, strict=False)
    return [each for before, each in pairs if each != before or each != FIRMWARE_RESET]


FIRMWARE_RESET = ("RESET", {"guest": True, "reason": "guest-reset"})


def names(told):
    return [each if isinstance(each, str) else each[0] for each in told]


@every_version
def test_stop_and_cont_twice_are_one_stop_and_one_resume(version):
    told = Told(version)
    for verb in (told.vm.stop, told.vm.cont, told.vm.stop, told.vm.stop, told.vm.cont, told.vm.cont):
        verb()
        told.ask()
    assert told.story == story(version, "stop-resume")


@every_version
def test_a_reset_while_paused_is_a_reset_only_and_leads_to_prelaunch(version):
    told = Told(version, firmware_resets=True)
    told.vm.reset()
    told.ask()
    told.vm.reset("guest-reset")
    told.ask()
    told.vm.stop()
    told.ask()
    told.vm.reset()
    told.ask()
    told.vm.cont()
    told.ask()
    assert with_one_firmware_reset(told.story) == with_one_firmware_reset(story(version, "reset"))


def test_without_such_a_firmware_a_reset_is_one_reset(vm, events):
    vm.reset()
    assert [(event.name, event.data) for event in events] == [
        ("RESET", {"guest": False, "reason": "host-qmp-system-reset"})
    ]


@every_version
def test_an_io_error_stops_the_vm_until_a_reset_clears_it(version):
    told = Told(version, blocks=[disk(1, "drive", VERSIONS[version], werror="stop")], firmware_resets=True)
    vm = told.vm
    vm.io_error("virtio-disk1", "write", "stop")
    told.ask()
    vm.cont()
    vm.io_error("virtio-disk1", "write", "stop")
    told.ask()
    vm.stop()
    told.ask()
    vm.reset()
    told.ask()
    vm.cont()
    told.ask()
    recorded = with_one_firmware_reset(story(version, "block-io-error-stop-reset"))
    assert names(told.story) == names(recorded)


@every_version
@pytest.mark.parametrize("scenario", ["stop-blockdev", "nospace-blockdev", "stop-reset"])
def test_io_status_goes_and_stays_as_recorded(version, scenario):
    style = "blockdev" if scenario.endswith("blockdev") else "drive"
    vm = SimulatedVm("web01", style=style, blocks=[disk(1, style, VERSIONS[version], rerror="stop")])
    vm.io_error("virtio-disk1", "write", "stop", nospace="nospace" in scenario)
    failed = vm.block("virtio-disk1").io_status
    vm.cont()
    replies = [v for k, v in keyed(sessions(version)[f"block-io-error-{scenario}"]) if k == "query-block"]
    recorded = [each["io-status"] for reply in replies[1:] for each in reply if "virtio-disk1" in each["qdev"]]
    assert [failed, vm.block("virtio-disk1").io_status] == [recorded[0], recorded[-1]]


@every_version
@pytest.mark.parametrize("action", ["report", "ignore"])
def test_io_errors_that_do_not_stop_the_vm_are_counted_as_recorded(version, action):
    blocks = [disk(1, "drive", VERSIONS[version], rerror=action, werror=action)]
    vm = SimulatedVm("web01", version=VERSIONS[version], blocks=blocks)
    vm.io_error("virtio-disk1", "write", action)
    vm.io_error("virtio-disk1", "read", action)
    scenario = "block-io-error-ignore" if action == "ignore" else "block-io-error-report-drive"
    replies = [v for k, v in keyed(sessions(version)[scenario]) if k == "query-blockstats"]
    recorded = next(each["stats"] for each in replies[-1] if each["device"] == "drive-virtio-disk1")
    ours = execute(vm, Request("query-blockstats", {}, {}))[0]["stats"]
    assert {k: v for k, v in ours.items() if "operations" in k or "bytes" in k} == {
        k: v for k, v in recorded.items() if "operations" in k or "bytes" in k
    }


@every_version
def test_without_a_policy_that_stops_there_is_neither_io_status_nor_nospace(version):
    blocks = [disk(1, "drive", VERSIONS[version], rerror="report", werror="report")]
    told = Told(version, blocks=blocks)
    told.vm.io_error("virtio-disk1", "write", "report")
    recorded = story(version, "block-io-error-report-drive")[1][1]
    assert told.story[1][1].keys() == recorded.keys()
    assert "io-status" not in execute(told.vm, Request("query-block", {}, {}))[0]


def test_a_disk_that_must_not_stop_the_vm_refuses_to():
    blocks = [disk(0, "drive", (10, 0, 0), rerror="report", werror="report")]
    with pytest.raises(ValueError, match="stop"):
        SimulatedVm("web01", blocks=blocks).io_error("virtio-disk0", "write", "stop")


@every_version
@pytest.mark.parametrize("style", ["drive", "blockdev"])
def test_a_tray_moves_as_recorded(version, style):
    told = Told(version, style=style)
    for is_open in (True, False, True, False, True, False):
        told.vm.move_tray("ide0-1-0", is_open)
        told.vm.move_tray("ide0-1-0", is_open)  # already there: nothing happens
    assert told.story[1:] == [each for each in story(version, f"tray-{style}") if isinstance(each, tuple)]


@every_version
def test_a_reset_closes_the_tray_without_an_event(version):
    told = Told(version, firmware_resets=True)
    told.vm.move_tray("ide0-1-0", open=True)
    told.vm.reset()
    told.ask()
    assert with_one_firmware_reset(told.story) == with_one_firmware_reset(story(version, "tray-reset"))
    assert not told.vm.block("ide0-1-0").tray_open


@every_version
def test_the_watchdog_does_what_its_action_says(version):
    recorded = story(version, "watchdog")
    told = Told(version, firmware_resets=True)
    for action in [each[1]["action"] for each in recorded if each[0] == "WATCHDOG"]:
        told.vm.expire_watchdog(action)
        if not told.vm.running:
            told.vm.cont()
    events = [each for each in recorded if isinstance(each, tuple)]
    assert with_one_firmware_reset(told.story[1:]) == with_one_firmware_reset(events)


@every_version
def test_a_watchdog_that_powers_off_ends_qemu_without_shutdown(version):
    told = Told(version)
    told.vm.expire_watchdog("poweroff")
    assert told.vm.exited
    assert told.story[1:] == [each for each in story(version, "watchdog-poweroff") if isinstance(each, tuple)]


@every_version
@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("shutdown-quit", "host-qmp-quit"),
        ("shutdown-sigterm", "host-signal"),
        ("shutdown-guest", "guest-shutdown"),
    ],
)
def test_a_shutdown_ends_qemu(version, scenario, reason):
    told = Told(version)
    told.vm.shutdown(reason)
    assert told.vm.exited
    assert told.story[1:] == [each for each in story(version, scenario) if isinstance(each, tuple)]


@every_version
def test_with_no_shutdown_qemu_stays_until_it_is_told_to_quit(version):
    told = Told(version, no_shutdown=True, firmware_resets=True)
    told.vm.shutdown("guest-shutdown")
    told.ask()
    told.vm.reset()
    told.ask()
    told.vm.cont()
    told.ask()
    told.vm.shutdown("host-qmp-quit")
    assert told.vm.exited
    assert with_one_firmware_reset(told.story) == with_one_firmware_reset(story(version, "shutdown-kept"))


def test_a_killed_vm_says_nothing(vm, events):
    vm.kill()
    assert vm.exited
    assert events == []


@every_version
def test_suspend_and_wakeup_are_neither_stop_nor_resume(version):
    told = Told(version)
    told.vm.suspend()
    told.ask()
    told.vm.wakeup()
    recorded = [each for each in story(version, "suspend-wakeup") if each[0] != "RESET"]  # the firmware's
    told.ask()
    assert told.story == recorded


@every_version
def test_a_panic_pauses_a_vm_that_is_kept(version):
    told = Told(version, no_shutdown=True)
    told.vm.panic()
    told.ask()
    assert told.story[1:4] == story(version, "panic-kept")[1:4]


def test_throttled_events_come_at_most_once_a_second_and_the_last_one_wins():
    now = [1000.0]
    events: list[Event] = []
    vm = SimulatedVm("web01", throttled=True, clock=lambda: now[0])
    vm.on_event.append(events.append)
    for offset in (1, 2, 3, 4):
        vm.change_rtc(offset)
        now[0] += 0.1
    vm.stop()
    now[0] = 1001.0
    vm.advance(1.0)
    told = [(event.name, (event.data or {}).get("offset"), round(event.time, 1)) for event in events]
    assert told == [("RTC_CHANGE", 1, 1000.0), ("STOP", None, 1000.4), ("RTC_CHANGE", 4, 1000.3)]


def test_io_errors_are_throttled_by_disk_and_since_9_2_only():
    for version, expected in (((9, 1, 0), 4), ((10, 0, 0), 2)):
        events: list[Event] = []
        vm = SimulatedVm("web01", version=version, throttled=True, clock=lambda: 1000.0)
        vm.on_event.append(events.append)
        for device in ("virtio-disk0", "virtio-disk0", "virtio-disk1", "virtio-disk1"):
            vm.io_error(device)
        assert len(events) == expected


def test_vnc_clients_on_a_unix_socket_look_alike_and_leave_one_by_one():
    vm = SimulatedVm("web01", vnc=[VncServer.unix("/vm/vnc.sock")])
    first, second = vm.vnc_connect(), vm.vnc_connect()
    assert first.info() == second.info() == {"family": "unix", "service": "", "host": "", "websocket": False}
    vm.vnc_disconnect(first)
    assert vm.displays.vnc[0].clients == [second]


@every_version
def test_a_second_spice_client_throws_the_first_one_out(version):
    told = Told(version, spice=SpiceServer())
    told.vm.spice_connect()
    told.vm.spice_disconnect(told.vm.spice_connect())
    recorded = [each for each in story(version, "spice") if isinstance(each, tuple)]
    assert sorted(told.names()[1:]) == sorted(names(recorded))
    # Between a client's channels the order is chance; what the second one does to the first is not.
    second = told.names().index("SPICE_DISCONNECTED")
    assert told.names()[second - 1 : second + 5] == [
        "SPICE_CONNECTED",
        *["SPICE_DISCONNECTED"] * 4,
        "SPICE_INITIALIZED",
    ]


def test_a_spice_client_that_gets_no_further_is_in_no_list():
    vm = SimulatedVm("web01", spice=SpiceServer())
    vm.spice_connect(channels=(1,), initialize=False)
    assert execute(vm, Request("query-spice", {}, {}))["channels"] == []


def test_two_vms_of_one_name_have_one_uuid():
    assert SimulatedVm("a").uuid == SimulatedVm("a").uuid != SimulatedVm("b").uuid
