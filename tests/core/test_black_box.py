"""The last of what monitors said -> what is kept of it, and a recorded session without what must not leave the site."""

import itertools
import json
import random
from pathlib import Path

import pytest

from qmp_exporter.catalog import CATALOG
from qmp_exporter.core import black_box
from qmp_exporter.core.black_box import MAX_BOXES, BlackBox, Recorder, Sender
from qmp_exporter.core.replay import replay

SESSIONS = sorted((Path(__file__).parents[1] / "traces").rglob("*.jsonl"))
COUNTED = [family.name for family in CATALOG.families if family.kind == "counter"]
EVENT = b'{"timestamp": {"seconds": 1, "microseconds": 0}, "event": "STOP"}\r\n'


def recorder(box: BlackBox | None = None) -> Recorder:
    ticks = itertools.count()
    return Recorder(box or BlackBox(), lambda: float(next(ticks)))


def noted(session: Path, chance: random.Random) -> Recorder:
    """A session as a link hears it: what QEMU says comes in pieces that begin and end anywhere."""
    kept = recorder()
    for line in session.read_bytes().splitlines():
        said = json.loads(line)
        content = json.dumps(said["msg"]).encode() + (b"\r\n" if said["from"] == "qemu" else b"")
        sender: Sender = said["from"]
        cuts = sorted(chance.sample(range(1, len(content)), 2)) if sender == "qemu" and len(content) > 3 else []
        for first, last in itertools.pairwise([0, *cuts, len(content)]):
            kept.note(sender, content[first:last])
    kept.keep()
    return kept


def counted(lines: list[bytes]) -> tuple[str, dict[str, object]]:
    """The version of QEMU, and all counters."""
    vm = replay(CATALOG, lines).vm
    return vm.identity[2], {family: dict(vm.values(family)) for family in COUNTED}


@pytest.mark.parametrize("session", SESSIONS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_was_kept_of_a_session_replays_to_the_same(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(black_box, "OF_A_VM", 1 << 30)
    version, told = counted(session.read_bytes().splitlines())
    recording = noted(session, random.Random(7)).recording(version, ())  # noqa: S311  the same pieces each time
    assert counted(recording.splitlines()) == (version, told)


def test_a_part_of_a_session_replays_without_a_bad_message() -> None:
    complaints: list[str] = []
    for session in SESSIONS:
        kept = noted(session, random.Random(7))  # noqa: S311  as above
        replay(CATALOG, kept.recording("10.0.0", ()).splitlines(), complain=complaints.append)
    assert complaints == []


@pytest.mark.parametrize(
    ("message", "left"),
    [
        ({"return": [{"file": "/srv/web01.img", "device": "virtio0"}]}, [{"file": "/path-1", "device": "virtio0"}]),
        ({"return": {"filename": 'json:{"driver":"nbd"}'}}, {"filename": "/path-1"}),
        ({"return": {"image": "nbd:storage:10809"}}, {"image": "/path-1"}),
        ({"return": {"host": "10.0.0.7", "service": "5900"}}, {"host": "address-1", "service": "address-2"}),
        ({"return": {"filename": "10.0.0.7:/vol"}}, {"filename": "address-1"}),
        ({"return": {"main-mac": "52:54:00:12:34:56"}}, {"main-mac": "address-1"}),
        ({"return": {"name": "web01"}}, {"name": "vm-1"}),
        ({"return": ["/a", "/b", "/a"]}, ["/path-1", "/path-2", "/path-1"]),
        ({"return": {"qom-path": "/machine/peripheral/disk0/virtio-backend"}}, None),
        ({"return": {"status": "io-error", "reason": "No space left on device", "count": 5}}, None),
    ],
)
def test_addresses_paths_and_its_name_are_cut_out_and_nothing_else(message, left) -> None:
    kept = recorder()
    kept.note("client", b'{"execute": "query-block", "id": 3}')
    kept.note("qemu", json.dumps({**message, "id": 3}).encode() + b"\n")
    kept.keep()
    *_, last = kept.recording("7.2.0", ("web01", "", "")).splitlines()
    assert json.loads(last)["msg"]["return"] == (message["return"] if left is None else left)


def test_what_answers_something_that_is_not_there_any_more_and_half_a_message_are_left_out() -> None:
    kept = recorder()
    kept.note("qemu", b'"half"}\n{"return": {}, "id": 9}\n' + EVENT + b'{"event": "RES')
    kept.keep()
    greeting, event = kept.recording("7.2.22", ()).splitlines()
    assert json.loads(greeting)["msg"]["QMP"]["version"]["qemu"] == {"major": 7, "minor": 2, "micro": 22}
    assert json.loads(event) == {"t": 0.0, "from": "qemu", "msg": json.loads(EVENT)}


def test_nothing_is_kept_before_a_trouble_begins() -> None:
    kept = recorder()
    kept.note("qemu", EVENT)
    assert not kept.has_kept
    assert kept.recording("7.2.0", ()) == b""


def test_of_a_flood_the_last_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(black_box, "OF_A_VM", 10 * len(EVENT))
    kept = recorder()
    for _ in range(1000):
        kept.note("qemu", EVENT)
    kept.keep()
    assert len(kept.recording("7.2.0", ()).splitlines()) == 11


def test_all_of_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(black_box, "MOST", 10_000)
    box, ticks = BlackBox(), itertools.count()
    vms = [Recorder(box, lambda: float(next(ticks))) for _ in range(3 * MAX_BOXES)]
    for vm in vms:
        vm.note("qemu", bytes(1000))
        vm.keep()
    assert sum(len(content) for *_, content in box._ring) <= 10_000
    assert [vm.has_kept for vm in vms] == [False] * 2 * MAX_BOXES + [True] * MAX_BOXES
    monkeypatch.setattr(black_box, "MAX_ENTRIES", 5)
    vms[0].note("qemu", b"x")
    assert len(box._ring) == 5


def test_of_an_outage_of_many_the_first_are_kept() -> None:
    box = BlackBox()
    vms = [Recorder(box, lambda: 1.0) for _ in range(2 * MAX_BOXES)]
    for vm in vms:
        vm.note("qemu", EVENT)
        vm.keep()
    assert [vm.has_kept for vm in vms] == [True] * MAX_BOXES + [False] * MAX_BOXES
