"""A simulated VM and chance -> everything that can happen to one, in any order, told by events or not at all."""

from collections.abc import Callable
from random import Random

from qmp_exporter.simulator import SimulatedVm, SpiceServer, VncServer, disk
from qmp_exporter.simulator.display import SpiceSession, VncClient

JOB = ("mirror", "stream", "backup", "commit")


def machine(rng: Random) -> SimulatedVm:
    """With everything that a page can tell of, in either style."""
    style = rng.choice(("drive", "blockdev"))
    version = rng.choice(((5, 2, 0), (7, 2, 0), (10, 0, 0)))
    vnc = [VncServer(), VncServer.unix("/run/vnc.sock", id="vnc1")]
    return SimulatedVm(
        "web01", style=style, version=version, vnc=vnc, spice=SpiceServer(), no_shutdown=True, firmware_resets=True
    )


class Turmoil:
    """Each call of `happens` is one thing that happens; those of `silently` are announced by no event."""

    def __init__(self, vm: SimulatedVm, rng: Random) -> None:
        self.vm = vm
        self._rng = rng
        self._viewers: list[VncClient] = []
        self._spice: SpiceSession | None = None
        self._plugged = 0

    def happens(self) -> None:
        self._rng.choice(self._announced)(self)

    def silently(self) -> None:
        self._rng.choice(self._unannounced)(self)

    # --- what QEMU announces, or hints at

    def _stop(self) -> None:
        self.vm.stop()

    def _cont(self) -> None:
        if self.vm.run_state not in {"shutdown", "internal-error", "suspended"}:
            self.vm.cont()

    def _reset(self) -> None:
        self.vm.reset()

    def _suspend(self) -> None:
        self.vm.suspend()

    def _wake_up(self) -> None:
        self.vm.wakeup()

    def _panic(self) -> None:
        self.vm.panic()

    def _shut_down(self) -> None:
        self.vm.shutdown()

    def _let_the_watchdog_expire(self) -> None:
        self.vm.expire_watchdog(self._rng.choice(("reset", "pause", "none")))

    def _fail_internally(self) -> None:
        if self.vm.running:
            self.vm.run_state = "internal-error"
            self.vm.emit("STOP")

    def _fail_to_write(self) -> None:
        action = self._rng.choice(("report", "ignore", "stop"))
        disks = [block for block in self.vm.blocks if not block.cdrom]
        self.vm.io_error(self._rng.choice(disks).id, "write", action, nospace=self._rng.random() < 0.5)

    def _move_a_tray(self) -> None:
        (drive,) = (block for block in self.vm.blocks if block.cdrom)
        self.vm.move_tray(drive.id, open=not drive.tray_open)

    def _connect_to_vnc(self) -> None:
        client = self.vm.vnc_connect(self._rng.choice(("default", "vnc1")))
        self._viewers.append(client)
        if self._rng.random() < 0.7:
            self.vm.vnc_initialize(client)

    def _leave_vnc(self) -> None:
        if self._viewers:
            self.vm.vnc_disconnect(self._viewers.pop(self._rng.randrange(len(self._viewers))))

    def _connect_to_spice(self) -> None:
        self._spice = self.vm.spice_connect()

    def _leave_spice(self) -> None:
        if self._spice:
            self.vm.spice_disconnect(self._spice)
            self._spice = None

    def _start_a_job(self) -> None:
        kind = self._rng.choice(JOB)
        if kind + "0" not in {job.id for job in self.vm.jobs}:
            self.vm.start_job(kind, auto_dismiss=self._rng.random() < 0.5)

    def _trouble_a_job(self) -> None:
        jobs = [job for job in self.vm.jobs if job.status in {"running", "ready", "paused", "standby"}]
        if not jobs:
            return
        job = self._rng.choice(jobs)
        running = job.status in {"running", "ready"}
        ways: list[Callable[[], None]] = [
            *(
                [lambda: job.stall("write"), job.pause, lambda: self.vm.complete_job(job.id)]
                if running
                else [job.resume]
            ),
            lambda: self.vm.cancel_job(job.id, force=True),
            lambda: self.vm.fail_job(job.id),
        ]
        self._rng.choice(ways)()

    def _dismiss_a_job(self) -> None:
        for job in tuple(self.vm.jobs):
            if job.status == "concluded":
                self.vm.jobs.dismiss(job.id)

    def _unplug_a_disk(self) -> None:
        """The guest lets it go, which DEVICE_DELETED says."""
        if len(self.vm.blocks) > 3:
            gone = self.vm.blocks.pop()
            self.vm.emit("DEVICE_DELETED", {"device": gone.id, "path": f"/machine/peripheral/{gone.id}"})

    # --- what nobody announces

    def _plug_in_a_disk(self) -> None:
        self._plugged += 1
        self.vm.blocks.append(disk(1 + self._plugged, self.vm.blocks[0].style, self.vm.version))

    def _take_the_medium_out(self) -> None:
        self.vm.blocks[2].inserted = False

    def _put_a_medium_in(self) -> None:
        self.vm.blocks[2].inserted = True

    def _copy(self) -> None:
        """Jobs go on; a mirror's length grows."""
        for job in self.vm.jobs:
            job.offset = min(job.len, job.offset + self._rng.randrange(1 << 20))
            job.len += self._rng.randrange(2) << 16

    def _migrate(self) -> None:
        self.vm.run_state = "postmigrate"

    def _read(self) -> None:
        self.vm.do_io(self.vm.blocks[0].id, "read", count=self._rng.randrange(9))

    _announced = (
        *(_stop, _cont, _cont, _reset, _suspend, _wake_up, _panic, _shut_down, _let_the_watchdog_expire),
        *(_fail_internally, _fail_to_write, _move_a_tray, _move_a_tray, _connect_to_vnc, _leave_vnc),
        *(
            _connect_to_spice,
            _leave_spice,
            _start_a_job,
            _trouble_a_job,
            _trouble_a_job,
            _dismiss_a_job,
            _unplug_a_disk,
        ),
    )
    _unannounced = (_plug_in_a_disk, _take_the_medium_out, _put_a_medium_in, _copy, _migrate, _read)
