"""The name that QEMU has for an image, and a mount table -> the name without secrets, and what the image shares."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from .vm_facts import MAX_NAME

UNKNOWN = "unknown"
MAX_NESTED = 32  # nodes of a json: name that are followed; filters and formats are stacked two or three high

# Drivers of nodes that pass everything on to the one below (is_filter in block/*.c) and that a user can insert.
FILTERS = frozenset({"throttle", "copy-on-read", "compress", "preallocate", "copy-before-write"})

_SHM = "/dev/shm/"  # noqa: S108  of a path that QEMU has; nothing is made there
_FDSET = "/dev/fdset/"  # descriptors that were passed to QEMU: whose they are is not to be seen
_PROTOCOL = re.compile(r"[A-Za-z0-9+.-]+:")  # path_has_protocol in block.c: a colon before any slash
_HOST = re.compile(r"(?:\[[^]]*\]|[^:]*)(?::\d*)?")
_SOCKET = re.compile(r"(?:^|&)socket=([^&]*)")
_OCTAL = re.compile(rb"\\([0-7]{3})")
_OWN_DISKS = re.compile(r"-part\d+$")  # /dev/mapper/mpatha-part1 is a partition and not the volume part1 of a group
# By driver, with members of its options.  Users, passwords, keys and cookies are other members.
_NAMES = {
    "file": "{filename}",
    "host_device": "{filename}",
    "host_cdrom": "{filename}",
    "rbd": "rbd:{pool}/{namespace}/{image}",
    "nbd": "nbd://{host}/{export}",
    "nbd+unix": "nbd+unix:///{export}?socket={socket}",
    "iscsi": "iscsi://{portal}/{target}/{lun}",
    "nfs": "nfs://{host}{path}",
    "ssh": "ssh://{host}{path}",
    "gluster": "gluster://{host}/{volume}{path}",
    "http": "{url}",
    "https": "{url}",
    "ftp": "{url}",
    "ftps": "{url}",
}
# Directories of /dev that are no volume group (udev, LVM's own and those of other storage).
_NO_GROUPS = frozenset(
    {"block", "bus", "char", "cpu", "disk", "drbd", "fd", "fdset", "input", "mapper", "md", "net", "pts", "shm", "vfio"}
)


class Mount(NamedTuple):
    """A line of /proc/PID/mountinfo, proc(5)."""

    point: str
    kind: str  # of the file system: ext4, nfs4, zfs, ...
    source: str


class BlockFile(NamedTuple):
    """An image's name as a person may see it; what it shares with others, where its name tells; its path, if any."""

    shown: str
    shared: str
    path: str


def block_file(filename: str) -> BlockFile:
    """`filename` is that of BlockDeviceInfo's `file`: a path, a URL, `rbd:…`, or `json:{…}` where no other tells.

    Passwords and keys stand in the user part and the options of URLs, in the options of `rbd:`, and in members of
    `json:`: of those only what names the place is kept.
    """
    name = _of_json(filename.removeprefix("json:")) if filename.startswith("json:") else filename
    name = name.removeprefix("file:")
    if not _PROTOCOL.match(name):
        return BlockFile(_short(name), "", name)
    if name.startswith("rbd:"):
        image = name.removeprefix("rbd:").split(":")[0]
        return BlockFile(_short(f"rbd:{image}"), f"rbd:{image.split('/')[0]}", "")
    if "://" in name:
        shown, shared = _of_url(name)
        return BlockFile(_short(shown), shared, "")
    return BlockFile(name[: name.index(":") + 1], UNKNOWN, "")


def storage(file: BlockFile, mounts: Iterable[Mount]) -> str:
    """What an image shares with others, so that one dead array is one alert: nothing is looked up but the name.

    The volume group, the pool, the host and its export; for a file the source of its file system, for another device
    the device itself.
    """
    if file.shared:
        return file.shared
    if file.path.startswith("/dev/") and not file.path.startswith((_SHM, _FDSET)):
        return _of_device(file.path)
    best: Mount | None = None
    for mount in mounts:
        inside = file.path == mount.point or file.path.startswith(f"{mount.point.rstrip('/')}/")
        if inside and (best is None or len(mount.point) >= len(best.point)):  # the later one covers the earlier
            best = mount
    if best is None or file.path.startswith(_FDSET):
        return UNKNOWN
    return f"zfs:{best.source.split('/')[0]}" if best.kind == "zfs" else best.source


def is_block_device(file: BlockFile) -> bool:
    """Of which the host allocates nothing that fstat() would tell."""
    return file.path.startswith("/dev/") and not file.path.startswith(_SHM)


def parse_mounts(text: bytes) -> tuple[Mount, ...]:
    """The content of /proc/PID/mountinfo; lines of another form are left out."""
    mounts = []
    for line in text.splitlines():
        before, separator, after = line.partition(b" - ")
        left, right = before.split(), after.split()
        if separator and len(left) >= 5 and len(right) >= 2:
            mounts.append(Mount(_unescaped(left[4]), _unescaped(right[0]), _unescaped(right[1])))
    return tuple(mounts)


def _unescaped(field: bytes) -> str:
    """Spaces and the like are octal there."""
    return _OCTAL.sub(lambda match: bytes([int(match[1], 8) & 255]), field).decode(errors="replace")


def _short(name: str) -> str:
    """The end of a path tells more than its beginning."""
    return name if len(name) <= MAX_NAME else "…" + name[1 - MAX_NAME :]


def _of_device(path: str) -> str:
    parts = path.split("/")[2:]
    if parts[0] == "mapper" and len(parts) > 1 and not _OWN_DISKS.search(parts[1]):
        group, dash, _ = parts[1].replace("--", "\0").partition("-")  # LVM doubles the hyphens of its names
        return f"lvm:{group.replace(chr(0), '-')}" if dash else path
    if parts[0] == "zvol" and len(parts) > 1:
        return f"zfs:{parts[1]}"
    if parts[0] == "rbd" and len(parts) > 2:  # /dev/rbd/POOL/IMAGE
        return f"rbd:{parts[1]}"
    if parts[0] == "rbd-pve" and len(parts) > 3:  # /dev/rbd-pve/FSID/POOL/IMAGE
        return f"rbd:{parts[2]}"
    return f"lvm:{parts[0]}" if len(parts) == 2 and parts[0] not in _NO_GROUPS else path


def _of_url(url: str) -> tuple[str, str]:
    """A URL -> without the user, the options and the fragment; and what it shares."""
    scheme, _, rest = url.partition("://")
    rest, _, options = rest.partition("#")[0].partition("?")
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    if not _HOST.fullmatch(host):  # a password with a slash in it looks so
        return f"{scheme}:", UNKNOWN
    bare = f"{scheme}://{host}{slash}{path}"
    if socket := _SOCKET.search(options):  # of a server on this host
        return f"{bare}?socket={socket[1]}", f"{scheme}:{socket[1]}"
    match scheme.partition("+")[0]:
        case "nbd" | "nbds":
            return bare, bare
        case "nfs":
            return bare, bare.rpartition("/")[0]
        case "iscsi" | "iser" | "gluster":
            return bare, f"{scheme}://{host}/{path.partition('/')[0]}"
    return bare, f"{scheme}://{host}"


def _of_json(text: str) -> str:
    """Of the node at the bottom the name that QEMU itself would give it; its driver, where there is none."""
    try:
        node = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return "json:"
    for _ in range(MAX_NESTED):
        if not isinstance(node, dict):
            return "json:"
        below = [one for one in (node.get("file"), node.get("image")) if isinstance(one, dict)]  # image: of blkdebug
        if not below:
            return _of_node(node)
        node = below[0]
    return "json:"


def _of_node(node: dict[str, Any]) -> str:
    """BlockdevOptions of a protocol, qapi/block-core.json: by its driver the members that name the place."""
    server = node.get("server")
    if isinstance(server, list):  # of gluster; those of rbd are not looked at
        server = server[0] if server else None
    members = defaultdict(str, {key: str(value) for key, value in node.items()})
    members["path"] = "/" + members["path"].removeprefix("/")
    driver = members["driver"]
    if isinstance(server, dict):
        members["host"] = ":".join(str(server[part]) for part in ("host", "port") if part in server)
        members["socket"] = str(server.get("path", ""))
        if driver == "nbd" and members["socket"]:
            driver = "nbd+unix"
    return _NAMES.get(driver, "{driver}:").format_map(members).replace("//", "/", driver == "rbd")
