"""What happens to a virtual machine -> the events QEMU would emit, in its order, and the state that queries see."""

import time
import uuid
from collections.abc import Callable, Collection
from typing import Literal

from qmp_exporter.simulator.block import BlockDevice, ErrorAction, Operation, Style, Version, cdrom, disk
from qmp_exporter.simulator.display import Displays, SpiceServer, VncServer
from qmp_exporter.simulator.jobs import Jobs
from qmp_exporter.simulator.throttle import Event, Throttle
from qmp_exporter.simulator.wire import Json

Clock = Callable[[], float]
WatchdogAction = Literal["reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi"]

# QEMU calls every reset or shutdown with one of these reasons the guest's own (shutdown_caused_by_guest).
_GUEST_REASONS = frozenset({"guest-shutdown", "guest-reset", "guest-panic", "subsystem-reset", "snapshot-load"})
_SILENT_RESETS = frozenset({"subsystem-reset", "snapshot-load"})


class SimulatedVm:
    """State of one VM; no sockets, no tasks, no timers. Verbs call `on_event`, and at the end `on_exit`.

    `clock` gives the time of events; `advance(seconds)` lets time pass for jobs. With `throttled` events
    are rationed as by real QEMU (BLOCK_IO_ERROR since 9.2 to one a second) and those held back come with
    `advance`; without it, which is the default, every event goes out, so that tests can count them.
    `firmware_resets` adds the second RESET that SeaBIOS causes by itself after each reset.
    """

    def __init__(
        self,
        name: str,
        *,
        vm_uuid: str | None = None,
        version: Version = (10, 0, 0),
        package: str = "",
        style: Style = "drive",
        blocks: Collection[BlockDevice] | None = None,
        vnc: Collection[VncServer] | None = None,
        spice: SpiceServer | None = None,
        balloon: int | None = 1 << 30,
        memory: int = 1 << 30,
        cpus: int = 1,
        run_state: str = "running",
        no_shutdown: bool = False,
        firmware_resets: bool = False,
        throttled: bool = False,
        commands: Collection[str] | None = None,
        clock: Clock = time.time,
    ) -> None:
        self.name = name
        self.uuid = vm_uuid or _uuid_of(name)
        self.version = version
        self.package = package
        default_blocks = (disk(0, style, version), disk(1, style, version), cdrom(0, style, version))
        self.blocks = list(default_blocks if blocks is None else blocks)
        self.displays = Displays([VncServer()] if vnc is None else vnc, spice, self.emit)
        self.jobs = Jobs(self.emit)
        self.balloon = balloon
        self.memory = memory
        self.cpus = cpus
        self.run_state = run_state
        self.migration: Json = {}
        self.rtc_offset = 0
        self.watchdog_action: WatchdogAction = "reset"
        self.commands = commands
        self.exited = False
        self.killed = False
        self.clock = clock
        self.on_event: list[Callable[[Event], None]] = []
        self.on_exit: list[Callable[[], None]] = []
        self._no_shutdown = no_shutdown
        self._firmware_resets = firmware_resets
        self._firmware_owes_reset = False
        self._throttle = Throttle() if throttled else None
        self._bind_verbs()

    def _bind_verbs(self) -> None:
        """The verbs of a subject stand with its state; here they are the VM's own."""
        self.vnc_connect = self.displays.vnc_connect
        self.vnc_initialize = self.displays.vnc_initialize
        self.vnc_disconnect = self.displays.vnc_disconnect
        self.spice_connect = self.displays.spice_connect
        self.spice_disconnect = self.displays.spice_disconnect
        self.start_job = self.jobs.start
        self.complete_job = self.jobs.complete
        self.cancel_job = self.jobs.cancel
        self.fail_job = self.jobs.fail

    def emit(self, name: str, data: Json | None = None) -> None:
        """Any event, also one that no verb here emits."""
        event = Event(name, data, self.clock())
        if self._throttle is None or self._throttle.passes(event):
            self._send(event)

    def _send(self, event: Event) -> None:
        for listener in tuple(self.on_event):
            listener(event)

    def advance(self, seconds: float) -> None:
        """Time passes: jobs copy (also while the VM is stopped), throttled events come due."""
        self.jobs.advance(seconds)
        if self._throttle is not None:
            for event in self._throttle.due(self.clock()):
                self._send(event)

    # --- run state ---

    @property
    def running(self) -> bool:
        return self.run_state == "running"

    def stop(self) -> None:
        self._stop("paused")

    def _stop(self, run_state: str) -> None:
        # A stopped VM keeps its state and the reason in it: `stop` after an I/O error changes nothing.
        if self.running:
            self.run_state = run_state
            self.emit("STOP")

    def cont(self) -> None:
        if self.running:
            return
        for block in self.blocks:
            block.continued()
        self.emit("RESUME")
        self.run_state = "running"
        if self._firmware_owes_reset:
            self._firmware_owes_reset = False
            self.emit("RESET", {"guest": True, "reason": "guest-reset"})

    def reset(self, reason: str = "host-qmp-system-reset") -> None:
        """Closes all trays without a word, and a stopped VM becomes `prelaunch` with RESET alone."""
        for block in self.blocks:
            block.reset()
        if reason not in _SILENT_RESETS:
            self.emit("RESET", {"guest": reason in _GUEST_REASONS, "reason": reason})
        self._firmware_owes_reset = self._firmware_resets and not self.running
        if not self.running:
            self.run_state = "prelaunch"
        elif self._firmware_resets:
            self.emit("RESET", {"guest": True, "reason": "guest-reset"})

    def shutdown(self, reason: str = "guest-shutdown") -> None:
        """The end of QEMU, unless it was started with -no-shutdown; a signal and `quit` end it even so."""
        self.emit("SHUTDOWN", {"guest": reason in _GUEST_REASONS, "reason": reason})
        if self._no_shutdown and reason not in {"host-qmp-quit", "host-signal"}:
            self._stop("shutdown")
        else:
            self._exit()

    def kill(self) -> None:
        """The process ends without a word, and nobody removes its socket files."""
        self.killed = True
        self._exit()

    def _exit(self) -> None:
        if not self.exited:
            self.exited = True
            for listener in tuple(self.on_exit):
                listener()

    def powerdown(self) -> None:
        """The button is pressed; what the guest makes of it is another matter."""
        self.emit("POWERDOWN")

    def suspend(self) -> None:
        """The guest sleeps (S3); neither STOP nor, at its end, RESUME says so."""
        if self.running:
            self.run_state = "suspended"
            self.emit("SUSPEND")

    def wakeup(self) -> None:
        if self.run_state == "suspended":
            self.run_state = "running"
            self.emit("WAKEUP")

    def panic(self) -> None:
        self.emit("GUEST_PANICKED", {"action": "pause" if self._no_shutdown else "poweroff"})
        if self._no_shutdown:
            self._stop("guest-panicked")
        else:
            self.shutdown("guest-panic")

    def expire_watchdog(self, action: WatchdogAction | None = None) -> None:
        action = action or self.watchdog_action
        self.emit("WATCHDOG", {"action": action})
        if action == "reset":
            self.reset("guest-reset")
        elif action == "pause":
            self._stop("watchdog")
        elif action == "shutdown":
            self.powerdown()
        elif action == "poweroff":
            self._exit()  # no SHUTDOWN: recorded from four versions

    def change_rtc(self, offset: int) -> None:
        self.rtc_offset = offset
        path = {"qom-path": "/machine/unattached/device[3]/rtc"} if self.version >= (7, 0, 0) else {}
        self.emit("RTC_CHANGE", {"offset": offset, **path})

    # --- disks ---

    def block(self, name: str) -> BlockDevice:
        """By any of its names: qdev id, -drive id, node name, QOM path."""
        for block in self.blocks:
            if name and name in block.names:
                return block
        raise KeyError(name)

    def do_io(self, device: str, operation: Operation, count: int = 1, size: int = 4096, seconds: float = 2e-4) -> None:
        """`count` requests of `size` bytes that took `seconds` altogether."""
        self.block(device).do_io(operation, count, size, seconds, self.clock())

    def io_error(
        self,
        device: str,
        operation: Literal["read", "write"] = "write",
        action: ErrorAction = "report",
        *,
        nospace: bool = False,
    ) -> None:
        block = self.block(device)
        block.fail(operation, action, 1, self.clock(), nospace=nospace)
        self.emit("BLOCK_IO_ERROR", self.io_error_data(block, operation, action, nospace=nospace))
        if action == "stop":
            self._stop("io-error")

    def io_error_data(self, block: BlockDevice, operation: str, action: ErrorAction, *, nospace: bool = False) -> Json:
        data: Json = {"device": block.device, "node-name": block.node_name}
        if block.has_io_status:
            data["nospace"] = nospace
        if self.version >= (9, 2, 0):
            data["qom-path"] = block.qdev
        reason = "No space left on device" if nospace else "Input/output error"
        return {**data, "reason": reason, "operation": operation, "action": action}

    def move_tray(self, device: str, open: bool) -> None:  # noqa: A002, FBT001 - the event's own word
        block = self.block(device)
        if block.tray_open != open:
            block.tray_open = open
            self.emit("DEVICE_TRAY_MOVED", {"device": block.device, "tray-open": open, "id": block.id})

    def remove_medium(self, device: str) -> None:
        self.block(device).inserted = False  # no event says so


def _uuid_of(name: str) -> str:
    """The same name has the same UUID at every start, as a VM has that was defined once."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
