"""A directory -> a libvirt of its own with a domain that has the second monitor which deploy/README.md recommends.

async with Libvirt(directory) as libvirt:
    await libvirt.virsh("suspend", DOMAIN)
    await libvirt.restart()

It is libvirt's unprivileged kind with all its files below the directory, so that one that is installed and in use is
not touched. It does not run as root: root starts it as nobody.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self
from xml.sax.saxutils import quoteattr

from dialling import again
from parts import need
from qmp_exporter.demo.machine import MIB, DataDisk, Fault
from qmp_exporter.demo.qemu import GUEST, dying_with_us
from waiting import DEADLINE, awaited

DAEMON, CLIENT, QEMU = "libvirtd", "virsh", "/usr/bin/qemu-system-x86_64"  # programs
DOMAIN = "web01"
STARTED_WITHIN = 100.0  # seconds; the first time, libvirt asks QEMU for everything it can do
README = Path(__file__).parents[2] / "deploy" / "README.md"
DOMAIN_XML = """
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{domain}</name>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <emulator>{qemu}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{image}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    {devices}
  </devices>
  {more}
</domain>
"""
# A guest without a serial port never rests: what it reads there looks like an order.
AT_REST = "<serial type='null'><target port='0'/></serial>"
# A guest that can be ordered about, and has what more can be provoked with.
PROVOKED = """
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      <source file='{cd}'/>
      <target dev='hdc' bus='ide'/>
      <readonly/>
    </disk>
    <serial type='unix'><source mode='bind' path='{directory}/serial.sock'/><target port='0'/></serial>
    <graphics type='vnc' socket='{directory}/vnc.sock'/>
"""
BAD_DISK = "virtio-disk9"  # an id like those that libvirt gives


class Libvirt:
    """A daemon, and a domain that is running inside the block."""

    def __init__(
        self, directory: Path, *, dials_in: bool = False, knows_us: bool = True, provoked: bool = False
    ) -> None:
        """`dials_in`: its second monitor connects to `dial_in` instead of listening.  `knows_us`: it has one.

        `provoked`: it has a disk that fails, a CD, a screen and a guest that obeys, and a monitor of the test's.
        """
        self.directory = directory
        self.monitor = directory / f"{DOMAIN}.sock"
        self.dial_in = directory / "dial-in.sock"
        self._dials_in, self._knows_us, self._provoked = dials_in, knows_us, provoked
        self._names = [DOMAIN]
        self._daemon: asyncio.subprocess.Process | None = None

    @property
    def own_monitor(self) -> Path:
        """-> the one that libvirt needs for itself"""
        (path,) = self.directory.rglob("monitor.sock")
        return path

    @property
    def api(self) -> Path:
        """-> the socket of its daemon"""
        return self.directory / "libvirt" / "libvirt-sock"

    def pid(self, name: str = DOMAIN) -> int:
        """-> of a domain's QEMU"""
        (file,) = self.directory.rglob(f"{name}.pid")
        return int(file.read_text())

    @property
    def daemon_pid(self) -> int:
        """-> of libvirtd, which setpriv has become"""
        assert self._daemon is not None
        return self._daemon.pid

    async def define(self, name: str, *, knows_us: bool = False) -> None:
        """One more domain, with a disk of its own; it runs then.  `knows_us`: it has a second monitor, NAME.sock."""
        image = self._image(f"{name}.img")
        xml = self.directory / f"{name}.xml"
        second_monitor = self._second_monitor().replace(str(self.monitor), f"{self.directory}/{name}.sock")
        second_monitor = second_monitor if knows_us else ""
        xml.write_text(DOMAIN_XML.format(domain=name, qemu=QEMU, image=image, devices=AT_REST, more=second_monitor))
        if os.geteuid() == 0:
            shutil.chown(xml, "nobody", "nogroup")
        self._names.append(name)
        await self.virsh("define", str(xml))
        await self.virsh("start", name)

    async def virsh(self, *words: str, deadline: float = DEADLINE) -> str:
        """-> what it says"""
        return await self.run(CLIENT, *words, deadline=deadline)

    async def run(self, *command: str, deadline: float = DEADLINE) -> str:
        """A program that talks to this libvirt; -> what it says"""
        process = await self._started(*command, stdout=asyncio.subprocess.PIPE)
        async with asyncio.timeout(deadline):
            said, _ = await process.communicate()
        assert process.returncode == 0, self.said()
        return said.decode().strip()

    async def restart(self) -> None:
        """-> when a new daemon knows its domains again"""
        await self._end_daemon()
        await self._start_daemon()

    def said(self) -> str:
        """-> what the daemon and virsh have complained about"""
        return self._log.read_text(errors="replace")

    async def __aenter__(self) -> Self:
        for name in (DAEMON, CLIENT, QEMU):
            need(name)
        self._prepare()
        try:
            await self._start_daemon()
            await self.virsh("define", str(self._xml), deadline=STARTED_WITHIN)
            await self.virsh("start", DOMAIN, deadline=STARTED_WITHIN)
        except BaseException:
            await self._end_daemon()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._names:
            with contextlib.suppress(AssertionError):  # the test may have ended it
                await self.virsh("destroy", name)
        await self._end_daemon()

    @property
    def _log(self) -> Path:
        return self.directory / "libvirt.log"

    @property
    def _xml(self) -> Path:
        return self.directory / f"{DOMAIN}.xml"

    def _prepare(self) -> None:
        image = self._image("boot.img")
        devices, more = AT_REST, self._second_monitor() if self._knows_us else ""
        if self._provoked:
            arguments = "".join(f"<qemu:arg value={quoteattr(one)}/>" for one in self._extra())
            more = f"<qemu:commandline>{arguments}</qemu:commandline>"
            devices = PROVOKED.format(cd=self._image("cd.iso"), directory=self.directory)
        xml = DOMAIN_XML.format(domain=DOMAIN, qemu=QEMU, image=image, devices=devices, more=more)
        self._xml.write_text(xml)
        settings = self.directory / "libvirt" / "qemu.conf"
        settings.parent.mkdir()
        settings.write_text('stdio_handler = "file"\n')  # or it would start virtlogd, which stays
        if os.geteuid() == 0:
            for path in (self.directory, *self.directory.rglob("*")):
                shutil.chown(path, "nobody", "nogroup")

    def _second_monitor(self) -> str:
        recipes = re.findall(r"<qemu:commandline>.*?</qemu:commandline>", README.read_text(), re.DOTALL)
        (recipe,) = (recipe for recipe in recipes if ("server=off" in recipe) == self._dials_in)
        recipe = re.sub("/run/qmp(-exporter)?/", f"{self.directory}/", recipe)
        recipe = recipe.replace("reconnect-ms=1000", again(QEMU))
        assert str(self.dial_in if self._dials_in else self.monitor) in recipe
        return recipe

    def _image(self, name: str) -> Path:
        image = self.directory / name
        image.write_bytes(GUEST.read_bytes())
        os.truncate(image, MIB)
        if os.geteuid() == 0:
            shutil.chown(image, "nobody", "nogroup")
        return image

    def _extra(self) -> list[str]:
        """A second disk whose first sector fails, and the test's monitor."""
        data = self._image("data.img")
        os.truncate(data, DataDisk().size)
        rules = [Fault(operation).rule() for operation in ("read", "write")]
        layers = (
            {"driver": "file", "filename": str(data), "node-name": "bad-storage"},
            {"driver": "blkdebug", "image": "bad-storage", "inject-error": rules, "node-name": "bad-blkdebug"},
            {"driver": "raw", "file": "bad-blkdebug", "node-name": "bad-format"},
        )
        disk = f"virtio-blk-pci,drive=bad-format,id={BAD_DISK},werror=stop,rerror=report,addr=1f.0,bootindex=9"
        monitor = f"socket,id=raw,path={self.directory}/raw.sock,server=on,wait=off"
        blockdevs = (word for layer in layers for word in ("-blockdev", json.dumps(layer)))
        return [*blockdevs, "-device", disk, "-chardev", monitor, "-mon", "chardev=raw,mode=control"]

    async def _start_daemon(self) -> None:
        self._daemon = await self._started(DAEMON)

        async def connected() -> str | None:
            with contextlib.suppress(AssertionError):
                return await self.virsh("list")
            return None

        await awaited(connected, self.said)

    async def _end_daemon(self) -> None:
        if self._daemon is not None:
            with contextlib.suppress(ProcessLookupError):
                self._daemon.terminate()
            await self._daemon.wait()

    async def _started(self, *command: str, stdout: int | None = None) -> asyncio.subprocess.Process:
        as_nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        everywhere = dict.fromkeys(
            ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"), str(self.directory)
        )
        only_this = {"LIBVIRT_DEFAULT_URI": "qemu:///session"}
        only_this["LIBVIRT_AUTOSTART"] = "0"  # virsh would start a daemon that nobody ends
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *as_nobody,
                *dying_with_us(),  # after setpriv has changed the user, which would undo it
                *command,
                env={**os.environ, **everywhere, **only_this},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout or log,
                stderr=log,
            )
