"""What can be wrong with a machine: it is gone, stands still, hangs, starts again and again."""

from collections.abc import Iterable

from qmp_exporter.core.evidence import Evidence
from qmp_exporter.core.trouble import Found, Lookup, Trouble, condition, held, holds, rose

HOUR = 3600.0
CRASHES = 3  # within an hour
RESETS = 6  # within half an hour; firmware often adds one of its own to that of the host


@condition(counters=("qemu_monitor_disconnects_total",))
def unreachable(evidence: Evidence) -> Iterable[Found]:
    if evidence.is_zero("qemu_up") and not evidence.those("qemu_monitor_state", {"state": "foreign"}):
        is_missing = bool(evidence.those("qemu_monitor_state", {"state": "missing"}))
        if not (is_missing and evidence.rises("qemu_monitor_disconnects_total", 1200, {"after": "shutdown"})):
            yield {}


@condition(gauges=("qemu_migration_status",))
def migration_failed(evidence: Evidence) -> Iterable[Found]:
    for found, seconds in evidence.holds_since("qemu_migration_status", {"status": "failed"}):
        if seconds < HOUR:
            yield found


TROUBLES = (
    Trouble(
        "QEMUMonitorUnreachable",
        "warning",
        short="its monitor is out of reach",
        first="does it run? `qmp-exporter diagnose` says what is wrong",
        summary="The exporter has no connection to the monitor of a VM.",
        meaning="""
            Nothing has been known about VM {{ $labels.vm }} on {{ $labels.instance }} for 5 minutes: its monitor does
            not answer. The VM may have ended, hang, or another client may hold its monitor.
            """,
        todo="""
            qemu_monitor_state{vm="{{ $labels.vm }}"} tells which. missing: there is no socket, is the VM
            running? refused: a stale socket, QEMU has died. denied: the permissions of the socket's directory.
            busy: another client is connected, or QEMU hangs in its storage. On the host,
            `qmp-exporter diagnose /etc/qmp-exporter/config.yaml --vm {{ $labels.vm }}` says what fixes it.
            """,
        expr="""
            qemu_up == 0
            unless on (job, instance, vm) qemu_monitor_state{state="foreign"} == 1
            unless on (job, instance, vm) (
              qemu_monitor_state{state="missing"} == 1
              and on (job, instance, vm) increase(qemu_monitor_disconnects_total{after="shutdown"}[20m]) > 0
            )
            """,
        reason="""
            A foreign monitor is libvirt's or Proxmox' own and refused on purpose: no outage, but a line in the
            configuration that will not work however long one waits. A VM that QEMU said was shut down is
            missing for good reason: a discovered one is forgotten after its grace, and one that is configured
            is asked for after 20m.
            """,
        when=unreachable,
        lasts=10,  # a monitor is met within a second, as a rule
        wait=290,
        has_own_lines=True,
    ),
    Trouble(
        "QEMUMonitorHung",
        "critical",
        short="QEMU answers nothing",
        first="the storage behind its disks; do not kill it",
        summary="The QEMU of a VM answers no query any more.",
        meaning="""
            QEMU of VM {{ $labels.vm }} on {{ $labels.instance }} holds its connection and has answered nothing for
            minutes: its main loop waits, most often for storage. The guest hangs too, or soon will.
            """,
        todo="""
            on the host, `journalctl -u qmp-exporter` names the query that hangs, and `ps -o stat,wchan:30 -p PID` of
            QEMU says D while it waits for storage: look for dead NFS, Ceph or multipath. A stopped process (T) takes
            `kill -CONT`. Do not kill a QEMU that waits for storage, fix that first.
            """,
        expr='qemu_monitor_state{state="hung"} == 1',
        reason="""
            Connected and silent for 10 seconds, or awaited by libvirt for as long: qemu_up stays 1.
            """,
        when=holds("qemu_monitor_state", state="hung"),
        wait=300,
        inhibits=("QEMUMonitorUnreachable",),
        has_own_lines=True,
    ),
    Trouble(
        "QEMUVMCrashed",
        "critical",
        short="QEMU crashed or was killed",
        first="`journalctl --dmesg`, `coredumpctl list`, then start it",
        summary="The QEMU of a VM ended without a word.",
        meaning="""
            QEMU of VM {{ $labels.vm }} on {{ $labels.instance }} crashed or was killed in the last 10 minutes, or its
            monitor was taken away; a VM that is shut down says so before.
            """,
        more=Lookup(
            "increase(qemu_process_exits_total{vm=%q,instance=%q}[10m]) > 0",
            ("vm", "instance"),
            "The kernel says how it ended: {{ .Labels.how }}.",
        ),
        todo="""
            qemu_up{vm="{{ $labels.vm }}"} tells whether it is back. On the host, look for the reason in
            `journalctl --dmesg` (out of memory, a machine check), `coredumpctl list` and QEMU's own log
            (/var/log/libvirt/qemu, the unit's journal), then start the VM; have the guest's file systems checked.
            """,
        expr='increase(qemu_monitor_disconnects_total{after="none"}[10m]) > 0',
        reason="""
            after="none": neither SHUTDOWN nor a watchdog's poweroff came before the end. At once, and also when
            somebody has started the VM again in the meantime: to the guest that was a power cut.
            """,
        when=rose("qemu_monitor_disconnects_total", 600, after="none"),
        keeps=900,
        inhibits=("QEMUMonitorUnreachable",),
        has_own_lines=True,
    ),
    Trouble(
        "QEMUVMStoppedOnFault",
        "critical",
        short="stopped on a fault",
        first="QEMU's log, the guest's console",
        summary="A VM stands still because of a fault.",
        meaning="""
            VM {{ $labels.vm }} on {{ $labels.instance }} stands still in the state {{ $labels.state }}. internal-error:
            KVM or QEMU could not go on with the guest. watchdog: the guest did not feed its watchdog, whose action is
            pause.
            """,
        todo="""
            QEMU's own log tells what KVM said, and `journalctl --dmesg` of the host. internal-error takes a reset
            (`virsh reset`, `qm reset`); after watchdog look at the guest's console first, then resume or reset it.
            """,
        expr='last_over_time(qemu_vm_state{state=~"internal-error|watchdog"}[15m]) == 1',
        reason="""
            As QEMUVMStoppedOnIOError; a machine that the watchdog or KVM has stopped does not go on by itself
            either.
            """,
        when=held("qemu_vm_state", 900, state="internal-error|watchdog"),
    ),
    Trouble(
        "QEMUVMCrashLoop",
        "critical",
        short="QEMU ends again and again",
        first="stop what starts it again",
        summary="The QEMU of a VM ends again and again.",
        meaning="""
            QEMU of VM {{ $labels.vm }} on {{ $labels.instance }} has ended without a word three times or more within
            the last hour, and something starts it again each time.
            """,
        todo="""
            stop what starts it (the unit, the HA manager) before its disks suffer, and find the reason as for a single
            crash: qemu_process_exits_total{vm="{{ $labels.vm }}"} by how, `journalctl --dmesg`, QEMU's own log.
            """,
        expr='increase(qemu_monitor_disconnects_total{after="none"}[1h]) >= $threshold',
        reason="""
            Once it is QEMUVMCrashed; a guest that is started again and again by something automatic is another
            fault.
            """,
        threshold=CRASHES,
        when=rose("qemu_monitor_disconnects_total", 3600, by=CRASHES - 1, after="none"),
        inhibits=("QEMUVMCrashed", "QEMUMonitorUnreachable"),
    ),
    Trouble(
        "QEMUVMRebootLoop",
        "warning",
        short="the guest starts again and again",
        first="the guest's console",
        summary="A guest starts again and again.",
        meaning="""
            The guest of VM {{ $labels.vm }} on {{ $labels.instance }} was reset six times or more within half an hour.
            """,
        todo="""
            look at its console: a kernel that panics early, a disk that it cannot mount, or a watchdog
            (qemu_watchdog_expirations_total{vm="{{ $labels.vm }}"}).
            """,
        expr="increase(qemu_vm_resets_total[30m]) >= $threshold",
        threshold=RESETS,
        when=rose("qemu_vm_resets_total", 1800, by=RESETS - 1),
    ),
    Trouble(
        "QEMUMigrationFailed",
        "warning",
        short="a migration failed",
        first="the log on both hosts",
        summary="A migration of a VM has failed.",
        meaning="""
            A migration of VM {{ $labels.vm }} on {{ $labels.instance }} has failed. As a rule the VM runs on where it
            was.
            """,
        todo="""
            see that it runs (qemu_vm_running), read why in QEMU's or the manager's log on both hosts, try again.
            """,
        expr="""
            qemu_migration_status{status="failed"} == 1
            unless qemu_migration_status{status="failed"} offset 1h == 1
            """,
        reason="""
            The status stays until the next migration, so that it is told for an hour.
            """,
        when=migration_failed,
    ),
    Trouble(
        "QEMUVMPausedLong",
        "warning",
        short="paused for half a day",
        first="who paused it",
        summary="A VM has been paused for half a day.",
        meaning="""
            VM {{ $labels.vm }} on {{ $labels.instance }} has been paused for 12 hours. Somebody or something paused it,
            and its guest has not run since.
            """,
        todo="""
            ask who paused it; `virsh resume`, `qm resume`, or `cont` at its monitor has it run again.
            """,
        expr='qemu_vm_state{state="paused"} == 1',
        when=holds("qemu_vm_state", state="paused"),
        lasts=43200,
    ),
    Trouble(
        "QEMUMigrationStuck",
        "warning",
        short="a migration does not end",
        first="whether the guest writes faster than is sent",
        summary="A migration of a VM has been under way for an hour.",
        meaning="""
            A migration of VM {{ $labels.vm }} on {{ $labels.instance }} has been in the state {{ $labels.status }} for
            an hour. In postcopy-paused the guest stands still until the connection of the two hosts is back.
            """,
        todo="""
            qemu_migration_ram_remaining_bytes{vm="{{ $labels.vm }}"} tells whether it comes to an end, and
            qemu_migration_dirty_bytes_per_second whether the guest changes its memory faster than it is sent: then
            allow a longer downtime, let the guest be slowed down (auto-converge) or cancel it (`virsh domjobabort`,
            `qm migrate`'s task). postcopy-paused takes `migrate-recover` by whoever began it.
            """,
        expr='qemu_migration_status{status=~"setup|active|device|postcopy-active|postcopy-paused|wait-unplug"} == 1',
        when=holds("qemu_migration_status", status="setup|active|device|postcopy-active|postcopy-paused|wait-unplug"),
        lasts=3600,
    ),
)
