"""What monitors said and were asked -> the last of it, and of one VM a recorded session that `replay` takes.

The bytes are kept as they come and looked at only when somebody wants to see them: keeping them costs a read of a
monitor less than a microsecond, however many events are in it.
"""

import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final, Literal

import msgspec

MOST: Final = 4 << 20  # bytes of all VMs together: what 500 VMs say in 10 s, or 10 VMs in minutes
MAX_ENTRIES: Final = 20_000  # of all VMs together, so that looking through them takes a millisecond
OF_A_VM: Final = 64 << 10  # bytes that are kept of one when a trouble begins: its last poll, and hundreds of events
MAX_BOXES: Final = 64  # that are kept, and that are made in a minute: of an outage of thousands the first tell enough
MINUTE: Final = 60.0

Sender = Literal["qemu", "client"]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


# Some bytes of a session: whose, when on a clock that never jumps, from which end, and what; of QEMU's it is a read,
# which begins and ends anywhere in a message.  A plain tuple, since one is made for each read of each monitor.
Said = tuple[object, float, Sender, bytes]


class BlackBox:
    """A ring of what was said last, and what was kept of it."""

    def __init__(self) -> None:
        self._ring: deque[Said] = deque()
        self._size = 0
        self._kept: dict[object, tuple[Said, ...]] = {}
        self._kept_at: deque[float] = deque(maxlen=MAX_BOXES)

    def note(self, said: Said) -> None:
        self._ring.append(said)
        self._size += len(said[3])
        while self._size > MOST or len(self._ring) > MAX_ENTRIES:
            self._size -= len(self._ring.popleft()[3])

    def keep(self, who: object, now: float) -> None:
        """What this one said last stays, in the place of what was kept of it before."""
        if len(self._kept_at) == MAX_BOXES and now - self._kept_at[0] < MINUTE:
            return
        self._kept_at.append(now)
        size, newest = 0, list[Said]()
        for said in reversed(self._ring):
            if said[0] is who:
                size += len(said[3])
                if size > OF_A_VM:
                    break
                newest.append(said)
        self._kept.pop(who, None)
        if newest:
            self._kept[who] = tuple(reversed(newest))
        if len(self._kept) > MAX_BOXES:
            del self._kept[next(iter(self._kept))]

    def has(self, who: object) -> bool:
        return who in self._kept

    def of(self, who: object) -> tuple[Said, ...]:
        """Nothing where nothing was kept."""
        return self._kept.get(who, ())


class Recorder:
    """What one VM says and is asked.  `clock` never jumps."""

    def __init__(self, black_box: BlackBox, clock: Callable[[], float]) -> None:
        self._black_box = black_box
        self._clock = clock

    def note(self, sender: Sender, content: bytes) -> None:
        self._black_box.note((self, self._clock(), sender, content))

    def keep(self) -> None:
        """A trouble begins: what led to it stays until the next one."""
        self._black_box.keep(self, self._clock())

    @property
    def has_kept(self) -> bool:
        return self._black_box.has(self)

    def recording(self, version: str, identity: Collection[str]) -> bytes:
        """Of what is kept; empty where nothing is."""
        said = self._black_box.of(self)
        return recording(said, version, identity) if said else b""


def recording(said: Iterable[Said], version: str, identity: Collection[str]) -> bytes:
    """Lines of a recorded session.  Addresses and paths are cut out; what stands for one is always the same.

    `version` of QEMU is told by a greeting at the beginning, which is long ago.  `identity`: what the VM is called,
    which is cut out as well.
    """
    lines: list[dict[str, Any]] = []
    cut, asked, began = _Cutter(identity), set[Any](), None
    for at, sender, message in _messages(said):
        began = at if began is None else began
        if "QMP" in message or message.get("execute") == "qmp_capabilities":
            continue
        if sender == "client":
            asked.add(message.get("id"))
        elif "id" in message and message["id"] not in asked:
            continue  # nobody knows any more what it answers
        lines.append({"t": round(at - began, 6), "from": sender, "msg": cut.out_of(message)})
    return b"".join(_encode(line) + b"\n" for line in (_greeting(version), *lines))


def _greeting(version: str) -> dict[str, Any]:
    major, minor, micro, *_ = (*map(int, re.findall(r"\d+", version)), 0, 0, 0)
    qemu = {"qemu": {"major": major, "minor": minor, "micro": micro}, "package": ""}
    return {"t": 0.0, "from": "qemu", "msg": {"QMP": {"version": qemu, "capabilities": []}}}


def _messages(said: Iterable[Said]) -> Iterator[tuple[float, Sender, dict[str, Any]]]:
    """Whole ones; what is none, such as the rest of the first, is left out."""
    unfinished = b""
    for _, at, sender, content in said:
        if sender == "client":  # which is always whole
            lines = content.replace(b"}{", b"}\n{").splitlines()
        else:
            *lines, unfinished = (unfinished + content).split(b"\n")
        for message in _decoded(lines):
            yield at, sender, message


def _decoded(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            message = _decode(line)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            continue
        if isinstance(message, dict):
            yield message


# What a value is called tells that it is a secret of the site, whatever it looks like.
_PATHS: Final = frozenset({"file", "filename", "backing_file", "backing-filename", "backing_filename", "image", "path"})
_HOSTS: Final = frozenset({"host", "hostname", "service", "port", "mac", "mac-address", "x509_dname", "sasl_username"})
_ADDRESS: Final = re.compile(r"(\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{0,4}(:[0-9A-Fa-f]{0,4}){2,}")
_QOM: Final = "/machine/"  # paths of devices, which the names of disks are made of


class _Cutter:
    """Values -> the same without what must not leave the site."""

    def __init__(self, identity: Collection[str]) -> None:
        self._identity = {one: f"vm-{number}" for number, one in enumerate(identity, start=1)}
        self._known: dict[str, str] = {}

    def out_of(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self.out_of(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [self.out_of(one, key) for one in value]
        if not isinstance(value, str) or not value or value.startswith(_QOM):
            return value
        kind = _kind(value, key)
        return self._identity.get(value) or (self._instead_of(value, kind) if kind else value)

    def _instead_of(self, value: str, kind: str) -> str:
        return self._known.setdefault(value, f"{kind}-{len(self._known) + 1}")


def _kind(value: str, key: str) -> str:
    """Of what has to be cut out; "" for what may stay."""
    if key in _HOSTS or _ADDRESS.search(value):
        return "address"
    if key in _PATHS or "/" in value or value.startswith("json:"):
        return "/path"
    return ""
