"""A URI of libvirt -> the socket where its daemon listens, and whether that runs."""

import os
import socket
from pathlib import Path
from typing import Final

from qmp_exporter.daemon.host.files import content
from qmp_exporter.daemon.monitor.link import Unreachable

DAEMONS: Final = {"virtqemud-sock": b"virtqemud", "libvirt-sock": b"libvirtd"}  # the modular one, and the one for all

SYSTEMD: Final = Path("/run/systemd/system")  # sd_booted(3)


def candidates(uri: str) -> list[str]:
    """Paths, the one that is preferred first."""
    directory = "/run/libvirt"
    if uri.endswith("/session"):
        directory = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}") + "/libvirt"
    return [f"{directory}/{name}" for name in DAEMONS]


def find(uri: str) -> str:
    """Where the daemon of this URI listens; of several, the first whose program runs.

    :raise OSError: nowhere.
    """
    there = [path for path in candidates(uri) if Path(path).exists()]
    if not there:
        raise FileNotFoundError(None, "no socket there", " or ".join(candidates(uri)))
    return next((path for path in there if is_running(path)), there[0])


def is_running(path: str) -> bool:
    """Whether a connection to this socket would start nothing: systemd listens for a daemon that has ended.

    True where that is not to be seen: the socket has another name, this is a container, or /proc shows each user his
    own processes only.
    """
    daemon = DAEMONS.get(os.path.basename(path).removesuffix("-ro"))  # noqa: PTH119  no Path is needed for it
    if daemon is None or not SYSTEMD.is_dir() or not Path("/proc/1/comm").exists():
        return True
    pids = (name for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208  names are enough
    return any((content(f"/proc/{pid}/comm") or b"").strip() == daemon for pid in pids)


def connected(path: str, *, activate: bool) -> socket.socket:
    """A connection to the daemon; not for the event loop, for what looks up a path may hang.

    `activate`: even where that starts it.

    :raise Unreachable: no daemon runs.
    :raise OSError: there is no connection.
    """
    if not (activate or is_running(path)):
        raise Unreachable("missing", f"no daemon runs at {path}; with activate: true it is started")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection
