"""The names, types and labels of the core, written out: they are public, and change only on purpose.

Alert rules, dashboards and other people's scripts use them.  Nothing here is imported from where it is defined.
"""

import pytest

from play import Story
from qmp_exporter.catalog import CATALOG

CORE = {
    "qemu_up": ("gauge", ()),
    "qemu_monitor_state": ("gauge", ("state",)),
    "qemu_monitor_connects_total": ("counter", ()),
    "qemu_monitor_disconnects_total": ("counter", ("after",)),
    "qemu_monitor_last_reply_timestamp_seconds": ("gauge", ()),
    "qemu_vm_info": ("gauge", ("name", "uuid", "version")),
    "qemu_vm_state": ("gauge", ("state",)),
    "qemu_vm_running": ("gauge", ()),
    "qemu_vm_state_change_timestamp_seconds": ("gauge", ()),
    "qemu_events_total": ("counter", ("event",)),
    "qemu_last_event_timestamp_seconds": ("gauge", ()),
    "qemu_vm_stops_total": ("counter", ()),
    "qemu_vm_resumes_total": ("counter", ()),
    "qemu_vm_resets_total": ("counter", ("reason",)),
    "qemu_vm_shutdowns_total": ("counter", ("reason",)),
    "qemu_watchdog_expirations_total": ("counter", ("action",)),
    "qemu_rtc_changes_total": ("counter", ()),
    "qemu_rtc_offset_seconds": ("gauge", ()),
    "qemu_block_io_errors_total": ("counter", ("device", "operation", "action")),
    "qemu_block_io_nospace_errors_total": ("counter", ("device",)),
    "qemu_block_io_status": ("gauge", ("device", "status")),
    "qemu_block_failed_operations_total": ("counter", ("device", "operation")),
    "qemu_block_tray_open": ("gauge", ("device",)),
    "qemu_block_tray_moves_total": ("counter", ("device", "to")),
    "qemu_block_medium_inserted": ("gauge", ("device",)),
    "qemu_vnc_clients": ("gauge", ()),
    "qemu_vnc_sessions": ("gauge", ()),
    "qemu_vnc_connections_total": ("counter", ()),
    "qemu_vnc_initializations_total": ("counter", ()),
    "qemu_vnc_disconnections_total": ("counter", ()),
    "qemu_spice_sessions": ("gauge", ()),
    "qemu_spice_channels": ("gauge", ()),
    "qemu_spice_connections_total": ("counter", ()),
    "qemu_spice_initializations_total": ("counter", ()),
    "qemu_spice_disconnections_total": ("counter", ()),
    "qemu_block_job_offset_bytes": ("gauge", ("job", "type")),
    "qemu_block_job_length_bytes": ("gauge", ("job", "type")),
    "qemu_block_job_speed_limit_bytes_per_second": ("gauge", ("job", "type")),
    "qemu_block_job_status": ("gauge", ("job", "type", "status")),
    "qemu_block_jobs_finished_total": ("counter", ("type", "result")),
    "qemu_block_job_errors_total": ("counter", ("operation", "action")),
    "qemu_block_read_bytes_total": ("counter", ("device",)),
    "qemu_block_written_bytes_total": ("counter", ("device",)),
    "qemu_block_reads_completed_total": ("counter", ("device",)),
    "qemu_block_writes_completed_total": ("counter", ("device",)),
    "qemu_block_flushes_completed_total": ("counter", ("device",)),
    "qemu_block_read_time_seconds_total": ("counter", ("device",)),
    "qemu_block_write_time_seconds_total": ("counter", ("device",)),
    "qemu_block_flush_time_seconds_total": ("counter", ("device",)),
}

MONITOR_STATES = {"connecting", "connected", "busy", "missing", "refused", "denied", "foreign", "error"}
RUN_STATES = {
    "debug", "finish-migrate", "inmigrate", "internal-error", "io-error", "paused", "postmigrate", "prelaunch",
    "restore-vm", "running", "save-vm", "shutdown", "suspended", "watchdog", "guest-panicked", "colo",
}  # fmt: skip
SHUTDOWN_CAUSES = {
    "none", "host-error", "host-qmp-quit", "host-qmp-system-reset", "host-signal", "host-ui", "guest-shutdown",
    "guest-reset", "guest-panic", "subsystem-reset", "snapshot-load",
}  # fmt: skip
BEFORE_4_0 = {"guest", "host", "unknown"}
JOB_TYPES = {
    "backup", "commit", "mirror", "stream", "create", "amend", "snapshot-load", "snapshot-save", "snapshot-delete",
}  # fmt: skip
JOB_STATUS = {
    "undefined", "created", "running", "paused", "ready", "standby", "waiting", "pending", "aborting", "concluded",
    "null",
}  # fmt: skip
CLOSED = {
    ("qemu_monitor_state", "state"): MONITOR_STATES,
    ("qemu_monitor_disconnects_total", "after"): {"shutdown", "none"},
    ("qemu_vm_state", "state"): RUN_STATES | {"unknown"},
    ("qemu_vm_resets_total", "reason"): SHUTDOWN_CAUSES | BEFORE_4_0,
    ("qemu_vm_shutdowns_total", "reason"): SHUTDOWN_CAUSES | BEFORE_4_0,
    ("qemu_watchdog_expirations_total", "action"): {
        "reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi",
    },
    ("qemu_block_io_errors_total", "operation"): {"read", "write"},
    ("qemu_block_io_errors_total", "action"): {"ignore", "report", "stop"},
    ("qemu_block_io_status", "status"): {"ok", "failed", "nospace"},
    ("qemu_block_failed_operations_total", "operation"): {"read", "write", "flush", "unmap"},
    ("qemu_block_tray_moves_total", "to"): {"open", "closed"},
    ("qemu_block_job_offset_bytes", "type"): JOB_TYPES,
    ("qemu_block_job_length_bytes", "type"): JOB_TYPES,
    ("qemu_block_job_speed_limit_bytes_per_second", "type"): JOB_TYPES,
    ("qemu_block_job_status", "type"): JOB_TYPES,
    ("qemu_block_job_status", "status"): JOB_STATUS,
    ("qemu_block_jobs_finished_total", "type"): JOB_TYPES,
    ("qemu_block_jobs_finished_total", "result"): {"completed", "failed", "cancelled"},
    ("qemu_block_job_errors_total", "operation"): {"read", "write"},
    ("qemu_block_job_errors_total", "action"): {"ignore", "report", "stop"},
}  # fmt: skip
OPEN = {"device", "job", "event", "name", "uuid", "version"}

# What stands at 0 as soon as a VM with one disk and one CD-ROM drive is connected, and nothing besides.
ZERO = {
    *(f'qemu_monitor_disconnects_total{{after="{after}"}}' for after in ("shutdown", "none")),
    "qemu_vm_stops_total",
    "qemu_vm_resumes_total",
    *(f'qemu_vm_resets_total{{reason="{reason}"}}' for reason in ("guest-reset", "host-qmp-system-reset")),
    *(f'qemu_vm_shutdowns_total{{reason="{reason}"}}' for reason in ("guest-shutdown", "host-qmp-quit", "host-signal")),
    *(
        f'qemu_watchdog_expirations_total{{action="{action}"}}'
        for action in ("reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi")
    ),
    "qemu_rtc_changes_total",
    *(
        f'qemu_block_io_errors_total{{action="{action}",device="{device}",operation="{operation}"}}'
        for action in ("ignore", "report", "stop")
        for device in ("disk", "cd")
        for operation in ("read", "write")
    ),
    *(f'qemu_block_io_nospace_errors_total{{device="{device}"}}' for device in ("disk", "cd")),
    *(f'qemu_block_tray_moves_total{{device="cd",to="{to}"}}' for to in ("open", "closed")),
    *(
        f"qemu_{protocol}_{what}_total"
        for protocol in ("vnc", "spice")
        for what in ("connections", "initializations", "disconnections")
    ),
    *(
        f'qemu_block_jobs_finished_total{{result="{result}",type="{kind}"}}'
        for result in ("completed", "failed", "cancelled")
        for kind in ("backup", "commit", "mirror", "stream")
    ),
    *(
        f'qemu_block_job_errors_total{{action="{action}",operation="{operation}"}}'
        for action in ("ignore", "report", "stop")
        for operation in ("read", "write")
    ),
}


def family(name: str):
    return next(family for family in CATALOG.families if family.name == name)


@pytest.mark.parametrize("name", CORE)
def test_a_metric_of_the_core_has_its_type_and_its_labels(name):
    kind, labels = CORE[name]
    assert family(name).kind == kind
    assert tuple(label.name for label in family(name).labels) == labels


@pytest.mark.parametrize(("name", "label"), CLOSED)
def test_a_closed_label_has_these_values(name, label):
    values = next(one.values for one in family(name).labels if one.name == label)
    assert set(values) == CLOSED[name, label]
    assert len(values) == len(set(values))


def test_no_label_of_the_core_is_open_but_these():
    for name, (_, labels) in CORE.items():
        for label in labels:
            assert (name, label) in CLOSED or label in OPEN, (name, label)


def test_what_can_be_foreseen_stands_at_zero():
    story = Story()
    before = story.page().keys()
    story.answers(
        "query-block",
        [{"device": "disk"}, {"device": "cd", "removable": True, "tray_open": False, "inserted": {}}],
    )
    core = {sample: value for sample, value in story.page().items() if sample.split("{")[0] in CORE}
    counters = {sample for sample in core if sample.split("{")[0].endswith("_total") and core[sample] == 0}
    assert counters == ZERO
    assert {sample for sample in ZERO if "device=" not in sample} <= before
