"""A request and the VM it is for -> the value after `return`, or QmpError as QEMU words it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, get_args

from qmp_exporter.simulator.block import BlockDevice
from qmp_exporter.simulator.jobs import BlockJob
from qmp_exporter.simulator.vm import SimulatedVm, WatchdogAction
from qmp_exporter.simulator.wire import Json, QmpError, Request

_JSON_TYPES: dict[type, str] = {str: "string", bool: "boolean", int: "integer"}


_NOT_REPORTED = 2**64 - 1  # by a guest that nobody asked
_STATS = (
    *("stat-swap-in", "stat-swap-out", "stat-major-faults", "stat-minor-faults", "stat-free-memory"),
    *("stat-total-memory", "stat-available-memory", "stat-disk-caches", "stat-htlb-pgalloc", "stat-htlb-pgfail"),
)


class Command(NamedTuple):
    """What answers a command, and the arguments it takes: name -> type, those without `?` required."""

    run: Callable[[SimulatedVm, Json], Any]
    parameters: Mapping[str, type] = MappingProxyType({})


def execute(vm: SimulatedVm, request: Request) -> Any:
    command = COMMANDS.get(request.execute)
    if command is None or not is_answered(vm, request.execute):
        raise QmpError(f"The command {request.execute} has not been found", "CommandNotFound")
    _check(command.parameters, request.arguments)
    return command.run(vm, request.arguments)


def is_answered(vm: SimulatedVm, name: str) -> bool:
    return name == "qmp_capabilities" or vm.commands is None or name in vm.commands


def _check(parameters: Mapping[str, type], arguments: Json) -> None:
    known = {name.rstrip("?"): kind for name, kind in parameters.items()}
    for name in parameters:
        if not name.endswith("?") and name not in arguments:
            raise QmpError(f"Parameter '{name}' is missing")
    for name, value in arguments.items():
        if name not in known:
            raise QmpError(f"Parameter '{name}' is unexpected")
        if type(value) is not known[name]:
            raise QmpError(f"Invalid parameter type for '{name}', expected: {_JSON_TYPES[known[name]]}")


# --- queries ---


def _query_commands(vm: SimulatedVm, _: Json) -> list[Json]:
    return [{"name": name} for name in COMMANDS if is_answered(vm, name)]


def version_info(vm: SimulatedVm) -> Json:
    major, minor, micro = vm.version
    return {"qemu": {"micro": micro, "minor": minor, "major": major}, "package": vm.package}


def _query_name(vm: SimulatedVm, _: Json) -> Json:
    return {"name": vm.name} if vm.name else {}


def _query_status(vm: SimulatedVm, _: Json) -> Json:
    singlestep = {"singlestep": False} if vm.version < (9, 0, 0) else {}
    return {"status": vm.run_state, **singlestep, "running": vm.running}


def _query_block_jobs(vm: SimulatedVm, _: Json) -> list[Json]:
    return [job.query_block_jobs(with_synced=vm.version >= (8, 2, 0)) for job in vm.jobs]


def _query_vnc_servers(vm: SimulatedVm, _: Json) -> list[Json]:
    with_display = vm.version >= (10, 0, 0)  # seen from 10.0 on, not in 7.2
    return [server.query_vnc_servers(with_display=with_display) for server in reversed(vm.displays.vnc)]


def _query_vnc(vm: SimulatedVm, _: Json) -> Json:
    return vm.displays.vnc[0].query_vnc() if vm.displays.vnc else {"enabled": False}


def _query_spice(vm: SimulatedVm, _: Json) -> Json:
    if vm.displays.spice is None:
        return {"migrated": False, "enabled": False, "mouse-mode": "client"}
    return vm.displays.spice.query_spice()


def _query_balloon(vm: SimulatedVm, _: Json) -> Json:
    if vm.balloon is None:
        raise QmpError("No balloon device has been activated", "DeviceNotActive")
    return {"actual": vm.balloon}


def _qom_list(vm: SimulatedVm, arguments: Json) -> list[Json]:
    """Of what users plugged in, the balloon, which is what is asked for."""
    devices = {"/machine/peripheral": ["balloon0"] if vm.balloon is not None else [], "/machine/peripheral-anon": []}
    if arguments["path"] not in devices:
        raise QmpError(f"Device '{arguments['path']}' not found", "DeviceNotFound")
    found = [{"name": name, "type": "child<virtio-balloon-pci>"} for name in devices[arguments["path"]]]
    return [{"name": "type", "type": "string"}, *found]


def _qom_get(vm: SimulatedVm, arguments: Json) -> Json:
    if vm.balloon is None or arguments["path"] != "/machine/peripheral/balloon0":
        raise QmpError(f"Device '{arguments['path']}' not found", "DeviceNotFound")
    if arguments["property"] != "guest-stats":
        raise QmpError(f"Property 'virtio-balloon-pci.{arguments['property']}' not found")
    return {"stats": dict.fromkeys(_STATS, _NOT_REPORTED), "last-update": 0}


def _query_cpus_fast(vm: SimulatedVm, _: Json) -> list[Json]:
    variable: Json = {"arch": "x86"} if vm.version < (6, 0, 0) else {}
    if vm.version >= (11, 0, 0):
        variable = {"qom-type": "qemu64-x86_64-cpu"}
    return [
        {
            "thread-id": 1000 + number,
            "props": {"core-id": number, "thread-id": 0, "socket-id": 0},
            "qom-path": f"/machine/unattached/device[{number}]",
            "cpu-index": number,
            "target": "x86_64",
            **variable,
        }
        for number in range(vm.cpus)
    ]


# --- orders ---


def _order(verb: Callable[[SimulatedVm], None]) -> Command:
    def run(vm: SimulatedVm, _: Json) -> Json:
        verb(vm)
        return {}

    return Command(run)


def _cont(vm: SimulatedVm, _: Json) -> Json:
    if vm.run_state in {"shutdown", "internal-error"}:
        raise QmpError("Resetting the Virtual Machine is required")
    vm.cont()
    return {}


def _block(vm: SimulatedVm, arguments: Json) -> BlockDevice:
    if ("device" in arguments) == ("id" in arguments):
        raise QmpError("Need exactly one of 'device' and 'id'")
    name = arguments.get("device", arguments.get("id"))
    found = [b for b in vm.blocks if name in {b.device if "device" in arguments else b.id, b.qdev}]
    if not name or not found:
        raise QmpError(f"Device '{name}' not found", "DeviceNotFound")
    return found[0]


def _open_tray(vm: SimulatedVm, arguments: Json) -> Json:
    block = _block(vm, arguments)
    name = arguments.get("device", arguments.get("id"))
    if not block.cdrom:
        raise QmpError(f"Device '{name}' is not removable")
    if block.locked and not arguments.get("force", False) and not block.tray_open:
        wait = "force was not specified, wait for tray to open and try again"
        raise QmpError(f"Device '{name}' is locked and {wait}")
    vm.move_tray(block.id, open=True)
    return {}


def _close_tray(vm: SimulatedVm, arguments: Json) -> Json:
    vm.move_tray(_block(vm, arguments).id, open=False)
    return {}


def _eject(vm: SimulatedVm, arguments: Json) -> Json:
    _open_tray(vm, arguments)
    vm.remove_medium(_block(vm, arguments).id)
    return {}


def _job(vm: SimulatedVm, arguments: Json) -> BlockJob:
    try:
        return vm.jobs[arguments["device"]]
    except KeyError:
        raise QmpError(f"Block job '{arguments['device']}' not found", "DeviceNotActive") from None


def _cancel_job(vm: SimulatedVm, arguments: Json) -> Json:
    vm.cancel_job(_job(vm, arguments).id, force=arguments.get("force", False))
    return {}


def _set_speed(vm: SimulatedVm, arguments: Json) -> Json:
    _job(vm, arguments).speed = arguments["speed"]
    return {}


def _set_watchdog_action(vm: SimulatedVm, arguments: Json) -> Json:
    if arguments["action"] not in get_args(WatchdogAction):
        raise QmpError(f"Parameter 'action' does not accept value '{arguments['action']}'")
    vm.watchdog_action = arguments["action"]
    return {}


def _already_negotiated(_vm: SimulatedVm, _: Json) -> Json:
    raise QmpError("Capabilities negotiation is already complete, command ignored", "CommandNotFound")


_TRAY: dict[str, type] = {"device?": str, "id?": str, "force?": bool}

COMMANDS: dict[str, Command] = {
    "qmp_capabilities": Command(_already_negotiated, {"enable?": list}),
    "query-commands": Command(_query_commands),
    "query-version": Command(lambda vm, _: version_info(vm)),
    "query-name": Command(_query_name),
    "query-uuid": Command(lambda vm, _: {"UUID": vm.uuid}),
    "query-status": Command(_query_status),
    "query-block": Command(lambda vm, _: [block.query_block(vm.version) for block in vm.blocks], {"flat?": bool}),
    "query-blockstats": Command(lambda vm, _: [block.query_blockstats(vm.version, vm.clock()) for block in vm.blocks]),
    "query-block-jobs": Command(_query_block_jobs),
    "query-jobs": Command(lambda vm, _: [job.query_jobs() for job in vm.jobs]),
    "query-vnc-servers": Command(_query_vnc_servers),
    "query-vnc": Command(_query_vnc),
    "query-spice": Command(_query_spice),
    "query-balloon": Command(_query_balloon),
    "qom-list": Command(_qom_list, {"path": str}),
    "qom-get": Command(_qom_get, {"path": str, "property": str}),
    "query-cpus-fast": Command(_query_cpus_fast),
    "query-memory-size-summary": Command(lambda vm, _: {"base-memory": vm.memory, "plugged-memory": 0}),
    "query-migrate": Command(lambda vm, _: vm.migration),
    "stop": _order(SimulatedVm.stop),
    "cont": Command(_cont),
    "system_reset": _order(SimulatedVm.reset),
    "system_powerdown": _order(SimulatedVm.powerdown),
    "quit": _order(lambda vm: vm.shutdown("host-qmp-quit")),
    "blockdev-open-tray": Command(_open_tray, _TRAY),
    "blockdev-close-tray": Command(_close_tray, {"device?": str, "id?": str}),
    "eject": Command(_eject, _TRAY),
    "block-job-cancel": Command(_cancel_job, {"device": str, "force?": bool}),
    "block-job-set-speed": Command(_set_speed, {"device": str, "speed": int}),
    "watchdog-set-action": Command(_set_watchdog_action, {"action": str}),
}

# What qemu-storage-daemon has of these.
STORAGE_DAEMON_COMMANDS = frozenset(
    {
        "query-commands",
        "query-version",
        "query-block",
        "query-blockstats",
        "query-block-jobs",
        "query-jobs",
        "block-job-cancel",
        "block-job-set-speed",
        "quit",
    }
)
# What a QEMU built without VNC and SPICE has.
HEADLESS_COMMANDS = frozenset(COMMANDS) - {"query-vnc-servers", "query-vnc", "query-spice"}
