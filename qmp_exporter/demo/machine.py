"""A description of a virtual machine -> the arguments that make qemu-system-x86_64 run it.

Disks and drives are named as Proxmox (`-drive`, drive-virtio1) or libvirt (`-blockdev`, libvirt-2-format)
name them, because a monitor's messages carry those names: in `device` with the first, only in `node-name` and
the device's id with the second.
"""

import errno
import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple

Policy = Literal["report", "ignore", "stop", "enospc"]

MIB = 1 << 20
BAD_LBA = 1  # the sector that faults are about: the guest's sector 2, since int 13h counts from 1


class Style(Enum):
    """Whose command line this is."""

    PROXMOX = "-drive"
    LIBVIRT = "-blockdev"


@dataclass(frozen=True)
class Fault:
    """A rule of blkdebug about the data disk's bad sector."""

    operation: Literal["read", "write"]
    errno: int = errno.EIO
    once: bool = False

    def rule(self) -> dict[str, str | int | bool]:
        """-> `inject-error` of blkdebug; with another event than `none` it would hold for reads and writes"""
        rule = {"event": "none", "iotype": self.operation, "sector": BAD_LBA}
        return {**rule, "errno": self.errno, "once": self.once}


@dataclass(frozen=True)
class DataDisk:
    """The second disk: 16 MiB without a zero in it, so that a job has to copy all of it."""

    faults: tuple[Fault, ...] = ()
    werror: Policy | None = None  # None leaves it to QEMU: enospc for writes, report for reads
    rerror: Policy | None = None
    size: int = 16 * MIB


@dataclass(frozen=True)
class Cdrom:
    """A CD-ROM drive with a medium in it."""

    bus: Literal["ide", "scsi"] = "ide"


@dataclass(frozen=True)
class Vnc:
    """A VNC display, on a free port of 127.0.0.1 or on a unix socket."""

    unix: bool = False
    password: bool = False  # then nobody gets in until the owner says set_password


@dataclass(frozen=True)
class Machine:
    """What to boot; the boot disk is always there."""

    name: str = "web01"
    uuid: str = "6a3c1f0e-6d2f-4c53-9f0a-0123456789ab"
    style: Style = Style.PROXMOX
    disk: DataDisk | None = None
    cdrom: Cdrom | None = None
    vnc: tuple[Vnc, ...] = ()
    spice: bool = False
    watchdog: Literal["none", "pause", "reset", "shutdown", "poweroff", "debug", "inject-nmi"] | None = None
    no_shutdown: bool = False
    paused: bool = False  # starts in prelaunch; the guest is ready only some time after `cont`
    extra: tuple[str, ...] = ()

    @property
    def disk_qdev(self) -> str:
        """-> the data disk's device id"""
        return "virtio1" if self.style is Style.PROXMOX else "virtio-disk1"

    @property
    def disk_drive(self) -> str:
        """-> what jobs call the data disk: its drive or its top node"""
        return "drive-virtio1" if self.style is Style.PROXMOX else "libvirt-2-format"

    @property
    def cdrom_qdev(self) -> str:
        """-> the CD-ROM drive's device id"""
        ide = self.cdrom is None or self.cdrom.bus == "ide"
        if self.style is Style.PROXMOX:
            return "ide2" if ide else "scsi2"
        return "ide0-1-0" if ide else "scsi0-0-0-2"


class Files(NamedTuple):
    """Where a machine's files are."""

    boot: Path
    data: Path
    cd: Path
    monitor: Path  # the socket for the exporter

    @classmethod
    def under(cls, directory: Path) -> "Files":
        """A directory -> the names in it"""
        return cls(*(directory / name for name in ("boot.img", "data.img", "cd.iso", "monitor.sock")))

    def vnc(self, number: int) -> Path:
        """-> the socket of a VNC display"""
        return self.monitor.with_name(f"vnc{number}.sock")


def arguments(machine: Machine, files: Files, spice_port: int = 0) -> list[str]:
    """-> everything after the program's name, but for the owner's monitor and the serial line"""
    args = [
        "-accel",
        "tcg",
        "-machine",
        "pc",
        "-m",
        "32",
        "-display",
        "none",
        "-no-user-config",
        "-nodefaults",
    ]
    args += ["-name", f"guest={machine.name}", "-uuid", machine.uuid]
    args += ["-chardev", f"socket,id=monitor,path={_comma(files.monitor)},server=on,wait=off"]
    args += ["-mon", "chardev=monitor,mode=control"]
    args += _disks(machine, files)
    args += _screens(machine, files, spice_port)
    if machine.watchdog is not None:
        args += ["-device", "ib700", "-watchdog-action", machine.watchdog]
    if machine.no_shutdown:
        args += ["-no-shutdown"]
    if machine.paused:
        args += ["-S"]
    return [*args, *machine.extra]


def _disks(machine: Machine, files: Files) -> list[str]:
    style = machine.style
    boot = _Image(1, "drive-virtio0", files.boot)
    boot_qdev = "virtio0" if style is Style.PROXMOX else "virtio-disk0"
    args = [*boot.arguments(style), *boot.device(style, "virtio-blk-pci", boot_qdev, bootindex=1)]
    if machine.disk is not None:
        data = _Image(2, "drive-virtio1", files.data, machine.disk.faults)
        policies = {"werror": machine.disk.werror, "rerror": machine.disk.rerror}
        args += data.arguments(style)
        args += data.device(style, "virtio-blk-pci", machine.disk_qdev, **policies)
    if machine.cdrom is not None:
        cd = _Image(3, f"drive-{machine.cdrom_qdev}", files.cd, cdrom=True)
        args += cd.arguments(style)
        if machine.cdrom.bus == "scsi":
            args += ["-device", "virtio-scsi-pci,id=scsi0"]
        bus = "ide.1" if machine.cdrom.bus == "ide" else "scsi0.0"
        args += cd.device(style, f"{machine.cdrom.bus}-cd", machine.cdrom_qdev, bus=bus)
    return args


@dataclass(frozen=True)
class _Image:
    """A raw image, with blkdebug between the format and the file if it is to fail."""

    number: int
    drive: str
    path: Path
    faults: tuple[Fault, ...] = ()
    cdrom: bool = False

    def arguments(self, style: Style) -> list[str]:
        """-> one -drive, or a -blockdev for each layer"""
        rules = [fault.rule() for fault in self.faults]
        return self._drive(rules) if style is Style.PROXMOX else self._blockdev(rules)

    def _drive(self, rules: list[dict[str, str | int | bool]]) -> list[str]:
        options: dict[str, Any] = {"if": "none", "id": self.drive, "format": "raw", "read-only": self.cdrom}
        options["media"] = "cdrom" if self.cdrom else "disk"
        file = "file"
        if rules:
            options["file.driver"] = "blkdebug"
            file = "file.image"
        options |= {f"{file}.driver": "file", f"{file}.filename": self.path}
        for index, rule in enumerate(rules):
            options |= {f"file.inject-error.{index}.{key}": value for key, value in rule.items()}
        return ["-drive", _options(options)]

    def _blockdev(self, rules: list[dict[str, str | int | bool]]) -> list[str]:
        node = f"libvirt-{self.number}-storage"
        layers: list[dict[str, Any]] = [{"driver": "file", "filename": str(self.path), "node-name": node}]
        if rules:
            layers.append({"driver": "blkdebug", "image": node, "inject-error": rules})
            node = layers[-1]["node-name"] = f"libvirt-{self.number}-blkdebug"
        layers.append({"driver": "raw", "file": node, "node-name": f"libvirt-{self.number}-format"})
        return [arg for layer in layers for arg in ("-blockdev", json.dumps(layer | {"read-only": self.cdrom}))]

    def device(self, style: Style, driver: str, qdev: str, **options: str | int | None) -> list[str]:
        """-> -device on top of it"""
        drive = self.drive if style is Style.PROXMOX else f"libvirt-{self.number}-format"
        return ["-device", f"{driver}," + _options({"drive": drive, "id": qdev, **options})]


def _screens(machine: Machine, files: Files, spice_port: int) -> list[str]:
    args = []
    for number, vnc in enumerate(machine.vnc):
        where = f"unix:{_comma(files.vnc(number))}" if vnc.unix else "127.0.0.1:0,to=999"
        ident = "default" if number == 0 else f"vnc{number}"
        args += ["-vnc", f"{where},id={ident},password={'on' if vnc.password else 'off'}"]
    if machine.spice:
        args += ["-spice", f"addr=127.0.0.1,port={spice_port},disable-ticketing=on"]
        args += ["-device", "VGA"]  # without a screen there is no channel for it, nor for the cursor
    return args


def _options(options: dict[str, Any]) -> str:
    """A dict -> key=value,key=value; a bool is on or off, None is left out"""
    words = {True: "on", False: "off"}
    return ",".join(
        f"{key}={words[value] if isinstance(value, bool) else _comma(value)}"
        for key, value in options.items()
        if value is not None
    )


def _comma(value: object) -> str:
    """A value -> the same inside a comma-separated option"""
    return str(value).replace(",", ",,")
