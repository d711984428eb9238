"""A running QEMU -> its guest sets the balloon, opens and closes a serial port: as a driver of legacy virtio would.

The firmware is not asked where a device is: each has a slot of its own, and is told its ports.  Registers and queues
are those of "Legacy Interface: Virtio Over PCI Bus" in the specification of virtio 1.0.
"""

import struct

from qmp_exporter.demo.qemu import Answer, Qemu

BALLOON_SLOT, SERIAL_SLOT = 0x1D, 0x1E
PORTS = 0xE000  # of the only device that is driven here
CONFIG_ADDRESS, CONFIG_DATA = 0xCF8, 0xCFC
COMMAND, BAR0 = 0x04, 0x10
IO_AND_BUS_MASTER = 0x05

GUEST_FEATURES, QUEUE_ADDRESS, QUEUE_SIZE, QUEUE_SELECT, QUEUE_NOTIFY = 0x04, 0x08, 0x0C, 0x0E, 0x10
STATUS, CONFIG = 0x12, 0x14
ACKNOWLEDGE, DRIVER, DRIVER_OK = 1, 2, 4
BALLOON_ACTUAL = CONFIG + 4  # pages that the guest has given back

PAGES = 0x20000  # where the guest pokes
MULTIPORT = 1 << 1
CONTROL_QUEUE = 3  # from the guest to the device
DESCRIPTOR = 16  # bytes; a table of them stands before the ring of those that are available
MESSAGES = 0xF000
PORT_OPEN = 6

BALLOON = ("-device", f"virtio-balloon-pci,id=balloon0,addr={BALLOON_SLOT:#x}")
SERIAL = ("-device", f"virtio-serial-pci,addr={SERIAL_SLOT:#x}")


async def set_balloon(qemu: Qemu, given_back: int) -> None:
    """The guest has given back so many bytes; needs Machine(extra=BALLOON)."""
    await _reach(qemu, BALLOON_SLOT)
    await _long(qemu, PORTS + BALLOON_ACTUAL, given_back // 4096)
    await qemu.event("BALLOON_CHANGE")


class Agent:
    """A guest agent that opens its port and closes it; needs a port behind SERIAL."""

    def __init__(self, qemu: Qemu) -> None:
        self._qemu = qemu
        self._available = 0  # where the ring begins
        self._said = 0

    async def start(self) -> None:
        await _reach(self._qemu, SERIAL_SLOT)
        await _byte(self._qemu, PORTS + STATUS, ACKNOWLEDGE | DRIVER)
        await _long(self._qemu, PORTS + GUEST_FEATURES, MULTIPORT)
        await _word(self._qemu, PORTS + QUEUE_SELECT, CONTROL_QUEUE)
        self._available = DESCRIPTOR * await _read_word(self._qemu, PORTS + QUEUE_SIZE)  # 32, or 1,024 in QEMU 10
        await _long(self._qemu, PORTS + QUEUE_ADDRESS, PAGES // 4096)
        await _byte(self._qemu, PORTS + STATUS, ACKNOWLEDGE | DRIVER | DRIVER_OK)

    async def holds_its_port(self, *, is_open: bool) -> None:
        """One message in the control queue, in a descriptor of its own; its port is the first one."""
        number, self._said = self._said, self._said + 1
        at = MESSAGES + number * 8
        await _poke(self._qemu, at, struct.pack("<IHH", 1, PORT_OPEN, is_open))
        await _poke(self._qemu, number * DESCRIPTOR, struct.pack("<QIHH", PAGES + at, 8, 0, 0))
        await _poke(self._qemu, self._available + 4 + number * 2, struct.pack("<H", number))
        await _poke(self._qemu, self._available + 2, struct.pack("<H", self._said))
        await _word(self._qemu, PORTS + QUEUE_NOTIFY, CONTROL_QUEUE)
        await self._qemu.event("VSERPORT_CHANGE", open=is_open)


async def _reach(qemu: Qemu, slot: int) -> None:
    """Give the device its ports."""
    for register, value in ((BAR0, PORTS), (COMMAND, IO_AND_BUS_MASTER)):
        await _long(qemu, CONFIG_ADDRESS, 1 << 31 | slot << 11 | register)
        await _long(qemu, CONFIG_DATA, value)


async def _byte(qemu: Qemu, port: int, value: int) -> None:
    await _obeyed(qemu, struct.pack("<cHB", b"o", port, value))


async def _word(qemu: Qemu, port: int, value: int) -> None:
    await _obeyed(qemu, struct.pack("<cHH", b"O", port, value))


async def _long(qemu: Qemu, port: int, value: int) -> None:
    await _obeyed(qemu, struct.pack("<cHI", b"L", port, value))


async def _read_word(qemu: Qemu, port: int) -> int:
    """By QEMU itself, which says `portw[0xe00c] = 0x0020`."""
    said: str = await qemu.execute("human-monitor-command", **{"command-line": f"i /h {port:#x}"})
    return int(said.rpartition("=")[2], 16)


async def _poke(qemu: Qemu, address: int, values: bytes) -> None:
    for offset, value in enumerate(values):
        await _obeyed(qemu, struct.pack("<cHB", b"p", address + offset, value))


async def _obeyed(qemu: Qemu, order: bytes) -> None:
    assert await qemu.tell(order) is Answer.DONE
