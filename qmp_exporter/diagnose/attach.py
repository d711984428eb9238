"""The name of a VM that runs -> what its administrator sends, so that it gets a monitor for the exporter at once.

Nothing is sent here.  QEMU gives a running VM monitors from 11.1 on: chardev-add (qapi/char.json), then object-add of a
monitor-qmp (qapi/qom.json), and the other way round to take it away.
"""

import json
import re
import shlex
from collections.abc import Iterator
from typing import Final

from qmp_exporter.diagnose.fixes import CHARDEV, DIRECTORY, listening, pasteable

SINCE: Final = "11.1"
MANAGERS: Final = ("qemu", "libvirt", "proxmox")
DIAL_IN: Final = "/run/qmp-exporter/dial-in.sock"  # as the docs have it
RECONNECT_MS: Final = 1000
_MONITOR = "exporter-monitor"
_PATH = re.compile(r"/[\w./@+-]+")  # nothing that the human monitor, which takes key=value lists, reads otherwise


def attach(name: str, manager: str, path: str = "", monitor: str = "", *, dials_in: bool = False) -> Iterator[str]:
    """Lines; commands begin with two spaces.

    `manager` is one of MANAGERS; `path` is where the new monitor listens, or the exporter if the monitor `dials_in`;
    `monitor` the socket of the QMP monitor that the VM has, where no manager relays commands to it.

    :raise ValueError: such a path cannot be given to QEMU; the text says what was wanted.
    """
    path = path or (DIAL_IN if dials_in else f"{DIRECTORY}/{name}.sock")
    if not _PATH.fullmatch(path):
        raise ValueError(f"--path: {path!r}: wanted an absolute path of letters, digits and _ . / @ + -")
    yield f"QEMU {SINCE} and later gives a running VM another monitor, until the VM ends. Nothing has been sent to it."
    if dials_in:
        yield "QEMU's user must be allowed to connect to the exporter's socket, which `listen:` makes."
    else:
        yield "Who may open the new socket controls the VM: only QEMU's user and the exporter may enter its directory."
    by_hmp = manager == "proxmox"
    yield ""
    yield "To add it:"
    yield from _sent(name, manager, monitor, (_add_by_hmp if by_hmp else _add)(path, dials_in=dials_in))
    yield ""
    yield "To take it away again:"
    yield from _sent(name, manager, monitor, _REMOVE_BY_HMP if by_hmp else _REMOVE)
    if manager == "libvirt":
        yield ""
        yield "libvirt marks the VM as tainted (custom-monitor) once a command was sent this way."


def without_a_restart(name: str, manager: str) -> tuple[str, ...]:
    """Words and a command: where to read what to send.  `manager`: as diagnose calls it."""
    by = manager.lower() if manager.lower() in MANAGERS else MANAGERS[0]
    return (
        f"Without a restart, where the VM runs QEMU {SINCE} or later; this prints what to send:",
        f"  qmp-exporter attach --by={by} {pasteable(name)}",
    )


def _sent(name: str, manager: str, monitor: str, commands: tuple[str, ...]) -> Iterator[str]:
    """What a shell is given, or the prompt of Proxmox' human monitor, which is the only one that it relays to."""
    match manager:
        case "proxmox":
            yield f"  qm monitor {shlex.quote(name)}"
            yield from (f"  {command}" for command in commands)
        case "libvirt":
            for command in commands:
                yield f"  virsh qemu-monitor-command {shlex.quote(name)} {shlex.quote(command)}"
        case _:
            lines = ('{"execute": "qmp_capabilities"}', *commands)
            yield "  printf '%s\\n' \\"
            yield from (f"    {shlex.quote(command)} \\" for command in lines)
            yield f"    | socat -t 5 - UNIX-CONNECT:{shlex.quote(monitor or 'MONITOR')}"


def _add(path: str, *, dials_in: bool) -> tuple[str, ...]:
    connects: dict[str, object] = {"server": False, "reconnect-ms": RECONNECT_MS}
    listens: dict[str, object] = {"server": True, "wait": False}
    data = {"addr": {"type": "unix", "data": {"path": path}}} | (connects if dials_in else listens)
    return (
        _qmp("chardev-add", {"id": CHARDEV, "backend": {"type": "socket", "data": data}}),
        _qmp("object-add", {"qom-type": "monitor-qmp", "id": _MONITOR, "chardev": CHARDEV}),
    )


def _add_by_hmp(path: str, *, dials_in: bool) -> tuple[str, ...]:
    connecting = f"socket,id={CHARDEV},path={path},server=off,reconnect-ms={RECONNECT_MS}"
    return (
        f"chardev-add {connecting if dials_in else listening(path)}",
        f"object_add monitor-qmp,id={_MONITOR},chardev={CHARDEV}",
    )


def _qmp(command: str, arguments: dict[str, object]) -> str:
    return json.dumps({"execute": command, "arguments": arguments})


_REMOVE = (_qmp("object-del", {"id": _MONITOR}), _qmp("chardev-remove", {"id": CHARDEV}))
_REMOVE_BY_HMP = (f"object_del {_MONITOR}", f"chardev-remove {CHARDEV}")
