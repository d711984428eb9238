"""Everything the simulator says has the shape that a real QEMU of the same version was recorded saying."""

from typing import Any

import pytest

from qmp_exporter.simulator import COMMANDS, SimulatedVm, SpiceServer, VncServer
from qmp_exporter.simulator.commands import execute, version_info
from qmp_exporter.simulator.wire import Request
from shape import VERSIONS, differences, recorded_shapes, sessions, shape, unify

_ORDERS = {name for name in COMMANDS if not name.startswith("query-")}


def eventful(version: tuple[int, int, int], style: Any) -> tuple[SimulatedVm, dict[str, Any]]:
    """A VM to which everything has happened, and the shapes of its events."""
    servers = [VncServer(), VncServer.unix("/vm/web01/vnc.sock", id="second")]
    vm = SimulatedVm("web01", version=version, style=style, vnc=servers, spice=SpiceServer(), no_shutdown=True)
    events: dict[str, Any] = {}
    vm.on_event.append(lambda e: events.__setitem__(e.name, unify(events.get(e.name), shape(e.message()))))
    for name in ("virtio-disk0", "virtio-disk1"):
        vm.do_io(name, "read")
        vm.do_io(name, "write")
        vm.io_error(name, "write", "report")
    vm.move_tray("ide0-1-0", open=True)
    vm.io_error("virtio-disk1", "read", "stop", nospace=True)
    vm.cont()
    vm.reset()
    for action in ("none", "pause", "shutdown"):
        vm.expire_watchdog(action)  # type: ignore[arg-type]
    vm.cont()
    vm.suspend()
    vm.wakeup()
    vm.change_rtc(-1441)
    for server in ("default", "second"):
        gone = vm.vnc_connect(server)
        vm.vnc_initialize(gone)
        vm.vnc_connect(server)
        vm.vnc_disconnect(gone)
    vm.spice_disconnect(vm.spice_connect())
    vm.spice_connect()
    vm.start_job("mirror", "done", auto_dismiss=False)
    vm.complete_job("done")
    vm.start_job("backup", "failed")
    vm.fail_job("failed")
    vm.start_job("stream", "cancelled")
    vm.cancel_job("cancelled")
    vm.start_job("backup", "pending", auto_finalize=False)
    vm.complete_job("pending")
    vm.start_job("mirror", "running")
    vm.shutdown()
    return vm, events


@pytest.mark.parametrize("style", ["drive", "blockdev"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_reply_has_the_recorded_shape(version, style):
    vm, _ = eventful(VERSIONS[version], style)
    fresh = SimulatedVm("web01", version=VERSIONS[version], style=style)
    recorded = recorded_shapes(version)
    found = [
        difference
        for each in (vm, fresh)
        for name in COMMANDS.keys() - _ORDERS
        for difference in differences(shape(execute(each, Request(name, {}, {}))), recorded[name], name)
    ]
    assert found == []


@pytest.mark.parametrize("style", ["drive", "blockdev"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_event_has_the_recorded_shape(version, style):
    _, events = eventful(VERSIONS[version], style)
    recorded = recorded_shapes(version)
    found = [text for name, ours in events.items() for text in differences(ours, recorded[name], name)]
    assert found == []


@pytest.mark.parametrize("version", VERSIONS)
def test_an_empty_drive_has_the_recorded_shape(version):
    vm = SimulatedVm("web01", version=VERSIONS[version])
    vm.remove_medium("ide0-1-0")
    reply = execute(vm, Request("query-block", {}, {}))
    assert "inserted" not in reply[-1]
    assert list(differences(shape(reply), recorded_shapes(version)["query-block"])) == []
    # query-blockstats was recorded with media in all drives only; an empty one has neither node nor parent.
    assert {"node-name", "parent"}.isdisjoint(execute(vm, Request("query-blockstats", {}, {}))[-1])


@pytest.mark.parametrize("version", VERSIONS)
def test_the_greeting_has_the_recorded_shape(version):
    vm = SimulatedVm("web01", version=VERSIONS[version], package="Debian")
    greeting = {"QMP": {"version": version_info(vm), "capabilities": ["oob"]}}
    assert list(differences(shape(greeting), recorded_shapes(version)["QMP"])) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_command_it_answers_exists_in_the_recorded_versions(version):
    messages = sessions(version)["connect-drive"]
    listed = next(m["return"] for m in messages if isinstance(m.get("return"), list) and len(m["return"]) > 100)
    assert COMMANDS.keys() <= {command["name"] for command in listed}


def test_an_io_error_of_a_qemu_before_9_2_has_no_qom_path():
    events: list[Any] = []
    vm = SimulatedVm("web01", version=(9, 1, 0))
    vm.on_event.append(events.append)
    vm.io_error("virtio-disk0")
    assert "qom-path" not in events[0].data


def test_a_difference_is_found():
    recorded = shape([{"a": 1, "b": "x"}, {"a": 2}])
    assert list(differences(shape([{"a": 1, "b": "y"}]), recorded)) == []
    assert sorted(differences(shape([{"b": 1, "c": 1}]), recorded)) == [
        "[].a is missing",
        "[].b is int, recorded was str",
        "[].c was never recorded",
    ]
