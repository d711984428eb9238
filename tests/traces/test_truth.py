"""Recorded sessions -> after each line the page is compared with what QEMU said, counted anew by the plainest means.

The golden pages tell what the end of a session looks like; this looks at every moment before it.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from qmp_exporter.catalog import CATALOG
from qmp_exporter.core.replay import replay
from qmp_exporter.core.vm import Vm

SESSIONS = sorted(Path(__file__).parent.glob("qemu-*/*.jsonl"))
sessions = pytest.mark.parametrize("session", SESSIONS, ids=lambda path: f"{path.parent.name}/{path.stem}")

# Event -> the counter that counts it, and the members of its data that are labels there.
COUNTED = {
    "STOP": ("qemu_vm_stops_total",),
    "RESUME": ("qemu_vm_resumes_total",),
    "RESET": ("qemu_vm_resets_total", "reason"),
    "SHUTDOWN": ("qemu_vm_shutdowns_total", "reason"),
    "WATCHDOG": ("qemu_watchdog_expirations_total", "action"),
    "RTC_CHANGE": ("qemu_rtc_changes_total",),
    "BLOCK_IO_ERROR": ("qemu_block_io_errors_total", "operation", "action"),
    "DEVICE_TRAY_MOVED": ("qemu_block_tray_moves_total", "tray-open"),
    "VNC_CONNECTED": ("qemu_vnc_connections_total",),
    "VNC_INITIALIZED": ("qemu_vnc_initializations_total",),
    "VNC_DISCONNECTED": ("qemu_vnc_disconnections_total",),
    "SPICE_CONNECTED": ("qemu_spice_connections_total",),
    "SPICE_INITIALIZED": ("qemu_spice_initializations_total",),
    "SPICE_DISCONNECTED": ("qemu_spice_disconnections_total",),
    "BLOCK_JOB_ERROR": ("qemu_block_job_errors_total", "operation", "action"),
    "POWERDOWN": ("qemu_vm_powerdowns_total",),
    "WAKEUP": ("qemu_vm_wakeups_total",),
    "GUEST_PANICKED": ("qemu_guest_panics_total", "action"),
    "GUEST_CRASHLOADED": ("qemu_guest_crashloads_total", "action"),
    "BLOCK_IMAGE_CORRUPTED": ("qemu_block_image_corruptions_total", "fatal"),
    "BLOCK_WRITE_THRESHOLD": ("qemu_block_write_threshold_exceeded_total",),
    "QUORUM_FAILURE": ("qemu_quorum_failures_total",),
    "QUORUM_REPORT_BAD": ("qemu_quorum_bad_reports_total", "type"),
}
WORDS = {
    "DEVICE_TRAY_MOVED": {True: "open", False: "closed"},
    "BLOCK_IMAGE_CORRUPTED": {True: "true", False: "false"},
}


def values(vm: Vm, name: str, *without: str) -> Counter[tuple[str, ...]]:
    """The samples of a family that are not 0, summed over the labels named in `without`."""
    index = next(index for index, family in enumerate(CATALOG.families) if family.name == name)
    kept = [at for at, label in enumerate(CATALOG.families[index].labels) if label.name not in without]
    sums: Counter[tuple[str, ...]] = Counter()
    for labels, value in vm.samples.values[index].items():
        sums[tuple(labels[at] for at in kept)] += value
    return +sums


@sessions
def test_every_event_is_counted_where_it_belongs(session):
    messages = [json.loads(line)["msg"] for line in session.read_bytes().splitlines()]
    events = [message for message in messages if "event" in message]
    with session.open("rb") as lines:
        vm = replay(CATALOG, lines).vm
    assert values(vm, "qemu_events_total") == Counter((event["event"],) for event in events)
    for name, (counter, *members) in COUNTED.items():
        data = [event.get("data", {}) for event in events if event["event"] == name]
        words = WORDS.get(name, {})
        expected = Counter(tuple(words.get(one[member], one[member]) for member in members) for one in data)
        without = {"device", "type"} - set(members)  # no panic in these came with information
        assert values(vm, counter, *without) == expected, counter
    suspends = {word: sum(event["event"] == name for event in events) for name, word in SUSPENDS.items()}
    assert values(vm, "qemu_vm_suspends_total") == +Counter({(word,): times for word, times in suspends.items()})
    results = Counter(
        (event["data"]["type"], result(event)) for event in events if event["event"] in RESULTS and "data" in event
    )
    assert values(vm, "qemu_block_jobs_finished_total") == results


SUSPENDS = {"SUSPEND": "ram", "SUSPEND_DISK": "disk"}
RESULTS = {"BLOCK_JOB_COMPLETED": "completed", "BLOCK_JOB_CANCELLED": "cancelled"}


def result(event: dict) -> str:
    return "failed" if "error" in event["data"] else RESULTS[event["event"]]


@sessions
def test_what_a_query_told_last_is_on_the_page_until_an_event_overtakes_it(session):
    lines = session.read_bytes().splitlines()
    asked: dict[int, str] = {}
    since: set[str] = set()  # events between a query and its reply
    checked = 0
    for number, line in enumerate(lines, start=1):
        record = json.loads(line)
        message = record["msg"]
        if record["from"] == "client":
            asked[message["id"]] = message["execute"]
            since.clear()
        elif "event" in message:
            since.add(message["event"])
        elif "return" in message and not since and (check := CHECKS.get(asked.get(message["id"], ""))):
            check(replay(CATALOG, lines[:number]).vm, message["return"])
            checked += 1
    assert checked >= 5 or session.stem == "event-before-greeting"


def status(vm: Vm, told: dict) -> None:
    assert values(vm, "qemu_vm_state") == {(told["status"],): 1}
    assert values(vm, "qemu_vm_running") == ({(): 1} if told["running"] else {})


def block(vm: Vm, told: list) -> None:
    tray = {name(one): 1 for one in told if one.get("tray_open")}
    assert values(vm, "qemu_block_tray_open") == tray
    assert values(vm, "qemu_block_medium_inserted") == {
        name(one): 1 for one in told if one["removable"] and "inserted" in one
    }
    assert values(vm, "qemu_block_io_status") == {
        (*name(one), one["io-status"]): 1 for one in told if "io-status" in one
    }


def blockstats(vm: Vm, told: list) -> None:
    for counter, member in (
        ("qemu_block_read_bytes_total", "rd_bytes"),
        ("qemu_block_writes_completed_total", "wr_operations"),
        ("qemu_block_flushes_completed_total", "flush_operations"),
        ("qemu_block_unmapped_bytes_total", "unmap_bytes"),
        ("qemu_block_writes_merged_total", "wr_merged"),
    ):
        assert values(vm, counter) == {name(one): one["stats"][member] for one in told if one["stats"][member]}
    failures = {
        (*name(one), operation): one["stats"][f"failed_{short}_operations"]
        for one in told
        for operation, short in (("read", "rd"), ("write", "wr"), ("flush", "flush"), ("unmap", "unmap"))
    }
    assert values(vm, "qemu_block_failed_operations_total") == +Counter(failures)


def jobs(vm: Vm, told: list) -> None:
    assert values(vm, "qemu_block_job_status") == {(one["device"], one["type"], one["status"]): 1 for one in told}
    for gauge, member in (
        ("qemu_block_job_offset_bytes", "offset"),
        ("qemu_block_job_length_bytes", "len"),
        ("qemu_block_job_speed_limit_bytes_per_second", "speed"),
    ):
        assert values(vm, gauge) == +Counter({(one["device"], one["type"]): one[member] for one in told})


def vnc(vm: Vm, told: list) -> None:
    assert values(vm, "qemu_vnc_clients")[()] == sum(len(server["clients"]) for server in told)
    assert values(vm, "qemu_vnc_sessions")[()] <= values(vm, "qemu_vnc_clients")[()]


def spice(vm: Vm, told: dict) -> None:
    channels = told.get("channels", [])
    assert values(vm, "qemu_spice_channels")[()] == len(channels)
    sessions_told = {one["connection-id"] for one in channels if one["channel-type"] == 1}
    assert values(vm, "qemu_spice_sessions")[()] == len(sessions_told)


def migration(vm: Vm, told: dict) -> None:
    assert values(vm, "qemu_migration_status") == ({(told["status"],): 1} if told else {})
    assert not values(vm, "qemu_migration_ram_size_bytes")  # none of the recordings asked while it was under way


def balloon(vm: Vm, told: dict) -> None:
    assert values(vm, "qemu_balloon_actual_bytes") == {(): told["actual"]}


def facts(vm: Vm, told: dict) -> None:
    assert values(vm, "qemu_memory_base_bytes") == {(): told["base-memory"]}


def cpus(vm: Vm, told: list) -> None:
    assert values(vm, "qemu_vcpus") == {(): len(told)}


def chardevs(vm: Vm, told: list) -> None:
    is_open = any(one["frontend-open"] for one in told if one["label"] == "charchannel0")
    assert values(vm, "qemu_serial_port_open") == ({("channel0",): 1} if is_open else {})


CHECKS = {
    "query-status": status,
    "query-block": block,
    "query-blockstats": blockstats,
    "query-block-jobs": jobs,
    "query-vnc-servers": vnc,
    "query-spice": spice,
    "query-migrate": migration,
    "query-balloon": balloon,
    "query-memory-size-summary": facts,
    "query-cpus-fast": cpus,
    "query-chardev": chardevs,
}


def name(told: dict) -> tuple[str]:
    """drive-virtio-disk0, or virtio-disk0 where there is no drive id; the VMs of the recordings know no others."""
    return (told["device"] or told["qdev"].removeprefix("/machine/peripheral/").removesuffix("/virtio-backend"),)
