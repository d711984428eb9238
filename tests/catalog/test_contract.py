"""The names, types and labels of all metrics, written out: they are public, and change only on purpose.

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
    "qemu_block_job_offset_bytes": ("gauge", ("job_id", "type")),
    "qemu_block_job_length_bytes": ("gauge", ("job_id", "type")),
    "qemu_block_job_speed_limit_bytes_per_second": ("gauge", ("job_id", "type")),
    "qemu_block_job_status": ("gauge", ("job_id", "type", "status")),
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

BEYOND = {
    "qemu_vm_powerdowns_total": ("counter", ()),
    "qemu_vm_suspends_total": ("counter", ("to",)),
    "qemu_vm_wakeups_total": ("counter", ()),
    "qemu_guest_panics_total": ("counter", ("action", "type")),
    "qemu_guest_crashloads_total": ("counter", ("action",)),
    "qemu_memory_failures_total": ("counter", ("recipient", "action")),
    "qemu_block_image_corruptions_total": ("counter", ("device", "fatal")),
    "qemu_block_write_threshold_exceeded_total": ("counter", ("device",)),
    "qemu_block_unmaps_completed_total": ("counter", ("device",)),
    "qemu_block_unmapped_bytes_total": ("counter", ("device",)),
    "qemu_block_unmap_time_seconds_total": ("counter", ("device",)),
    "qemu_block_reads_merged_total": ("counter", ("device",)),
    "qemu_block_writes_merged_total": ("counter", ("device",)),
    "qemu_block_invalid_operations_total": ("counter", ("device", "operation")),
    "qemu_block_latency_seconds": ("histogram", ("device", "operation", "le")),
    "qemu_quorum_failures_total": ("counter", ()),
    "qemu_quorum_bad_reports_total": ("counter", ("type",)),
    "qemu_pr_manager_connected": ("gauge", ("manager",)),
    "qemu_serial_port_open": ("gauge", ("port",)),
    "qemu_balloon_actual_bytes": ("gauge", ()),
    "qemu_memory_base_bytes": ("gauge", ()),
    "qemu_memory_plugged_bytes": ("gauge", ()),
    "qemu_vcpus": ("gauge", ()),
    "qemu_migration_status": ("gauge", ("status",)),
    "qemu_migration_ram_transferred_bytes": ("gauge", ()),
    "qemu_migration_ram_remaining_bytes": ("gauge", ()),
    "qemu_migration_ram_size_bytes": ("gauge", ()),
    "qemu_migration_dirty_bytes_per_second": ("gauge", ()),
    "qemu_migration_expected_downtime_seconds": ("gauge", ()),
    "qemu_netdev_connected": ("gauge", ("netdev",)),
    "qemu_device_unplug_errors_total": ("counter", ()),
    "qemu_process_cpu_seconds_total": ("counter", ()),
    "qemu_process_resident_memory_bytes": ("gauge", ()),
    "qemu_process_open_fds": ("gauge", ()),
    "qemu_vcpu_cpu_seconds_total": ("counter", ("vcpu",)),
    "qemu_vcpu_run_delay_seconds_total": ("counter", ("vcpu",)),
    "qemu_kvm_stat_total": ("counter", ("stat",)),
    "qemu_kvm_stat_level": ("gauge", ("stat",)),
    "qemu_kvm_vcpu_stat_total": ("counter", ("vcpu", "stat")),
    "qemu_kvm_vcpu_stat_level": ("gauge", ("vcpu", "stat")),
}
ALL = CORE | BEYOND

MONITOR_STATES = {"connecting", "connected", "hung", "busy", "missing", "refused", "denied", "foreign", "error"}
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
MIGRATION_STATUS = {
    "none", "setup", "cancelling", "cancelled", "active", "postcopy-device", "postcopy-active", "postcopy-paused",
    "postcopy-recover-setup", "postcopy-recover", "completed", "failing", "failed", "colo", "pre-switchover", "device",
    "wait-unplug",
}  # fmt: skip
PANIC_ACTIONS = {"pause", "poweroff", "run"}
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
    ("qemu_vm_suspends_total", "to"): {"ram", "disk"},
    ("qemu_guest_panics_total", "action"): PANIC_ACTIONS,
    ("qemu_guest_panics_total", "type"): {"hyper-v", "s390", "tdx", "sev", "unknown"},
    ("qemu_guest_crashloads_total", "action"): PANIC_ACTIONS,
    ("qemu_memory_failures_total", "recipient"): {"hypervisor", "guest"},
    ("qemu_memory_failures_total", "action"): {"ignore", "inject", "fatal", "reset"},
    ("qemu_block_image_corruptions_total", "fatal"): {"true", "false"},
    ("qemu_block_invalid_operations_total", "operation"): {"read", "write", "flush", "unmap"},
    ("qemu_block_latency_seconds", "operation"): {"read", "write", "flush"},
    ("qemu_quorum_bad_reports_total", "type"): {"read", "write", "flush", "unknown"},
    ("qemu_migration_status", "status"): MIGRATION_STATUS | {"unknown"},
}  # fmt: skip
OPEN = {"device", "job_id", "event", "name", "uuid", "version", "manager", "port", "netdev", "vcpu", "le", "stat"}

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
    "qemu_vm_powerdowns_total",
    *(f'qemu_vm_suspends_total{{to="{to}"}}' for to in ("ram", "disk")),
    "qemu_vm_wakeups_total",
    *(
        f'qemu_guest_panics_total{{action="{action}",type="{kind}"}}'
        for action in ("pause", "poweroff")
        for kind in ("hyper-v", "unknown")
    ),
    'qemu_guest_crashloads_total{action="run"}',
    *(
        f'qemu_memory_failures_total{{action="{action}",recipient="{recipient}"}}'
        for action in ("ignore", "inject", "fatal", "reset")
        for recipient in ("hypervisor", "guest")
    ),
    *(
        f'qemu_block_image_corruptions_total{{device="{device}",fatal="{fatal}"}}'
        for device in ("disk", "cd")
        for fatal in ("true", "false")
    ),
    *(f'qemu_block_write_threshold_exceeded_total{{device="{device}"}}' for device in ("disk", "cd")),
    "qemu_device_unplug_errors_total",
}


def family(name: str):
    return next(family for family in CATALOG.families if family.name == name)


@pytest.mark.parametrize("name", ALL)
def test_a_metric_has_its_type_and_its_labels(name):
    kind, labels = ALL[name]
    assert family(name).kind == kind
    assert tuple(label.name for label in family(name).labels) == labels


@pytest.mark.parametrize(("name", "label"), CLOSED)
def test_a_closed_label_has_these_values(name, label):
    values = next(one.values for one in family(name).labels if one.name == label)
    assert set(values) == CLOSED[name, label]
    assert len(values) == len(set(values))


def test_there_are_no_others():
    assert {family.name for family in CATALOG.families} == ALL.keys()


def test_no_label_is_open_but_these():
    for name, (_, labels) in ALL.items():
        for label in labels:
            assert (name, label) in CLOSED or label in OPEN, (name, label)


def test_what_can_be_foreseen_stands_at_zero():
    story = Story()
    before = story.page().keys()
    story.answers(
        "query-block",
        [{"device": "disk"}, {"device": "cd", "removable": True, "tray_open": False, "inserted": {}}],
    )
    page = story.page()
    counters = {sample for sample in page if sample.split("{")[0].endswith("_total") and page[sample] == 0}
    assert counters == ZERO
    assert {sample for sample in ZERO if "device=" not in sample} <= before
