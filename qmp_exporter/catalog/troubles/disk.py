"""What can be wrong with disks, their images and the storage behind them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from qmp_exporter.core.evidence import Evidence
from qmp_exporter.core.trouble import Found, Lookup, OverVms, Trouble, condition, held

ERRORS, STATUS, INFO = "qemu_block_io_errors_total", "qemu_block_io_status", "qemu_block_info"
NOSPACE = "qemu_block_io_nospace_errors_total"
FAILED = "qemu_block_failed_operations_total"
READS, WRITES = "qemu_block_reads_completed_total", "qemu_block_writes_completed_total"
READ_TIME, WRITE_TIME = "qemu_block_read_time_seconds_total", "qemu_block_write_time_seconds_total"
SETTLES = 20.0  # seconds until it is known whether an error has stopped the VM: QEMU may be slow to say so
LATELY = 900.0  # seconds for which a state counts after the monitor is lost
BAD = "failed|nospace"  # of STATUS
MANY = 3  # VMs whose disks fail on one storage: that is one fault
SLOW = 0.2  # seconds of a read or write, on average


@condition(counters=(ERRORS, NOSPACE), gauges=("qemu_vm_state",))
def erring(evidence: Evidence) -> Iterable[Found]:
    seen = evidence.rises(ERRORS, 600, {"action": "report|ignore|other"}, without=("action",))
    is_settled = not evidence.rises(ERRORS, SETTLES, {"action": "stop"})
    if is_settled and not evidence.was("qemu_vm_state", 1800, {"state": "io-error"}):
        seen += [one for one in evidence.rises(ERRORS, 600, {"action": "stop"}, without=("action",)) if one not in seen]
    return seen


@condition(counters=(ERRORS, FAILED))
def failed_silently(evidence: Evidence) -> Iterable[Found]:
    told = {one["device"] for one in evidence.rises(ERRORS, 600)}
    failed = evidence.rises(FAILED, 600, without=("operation",))
    return [one for one in failed if one["device"] not in told]


def bad_status(evidence: Evidence) -> dict[str, str]:
    """-> the disks whose latched status is not ok, and what it is"""
    return {one["device"]: one["status"] for one in evidence.those(STATUS, {"status": BAD}, lately=LATELY)}


def where(evidence: Evidence) -> str:
    """-> the disks that a VM stopped on, and how"""
    errors = evidence.rises(ERRORS, 600, without=("action",))
    operations = defaultdict(list)
    for one in errors:
        operations[one["device"]].append(one["operation"])
    status = {one["device"]: "nospace" for one in evidence.rises(NOSPACE, 600)}  # known before a query has told it
    status |= bad_status(evidence)
    return "; ".join(
        f"{device}: {', '.join(filter(None, (status.get(device), *operations.get(device, ()))))}"
        for device in dict.fromkeys((*status, *operations))
    )


def failing(evidence: Evidence) -> Iterator[str]:
    """-> the storages on which disks of a VM fail"""
    devices = {one["device"] for one in evidence.rises(ERRORS, 600)} | bad_status(evidence).keys()
    if devices:
        for info in evidence.those(INFO, lately=LATELY):
            if info["device"] in devices and info["storage"] != "unknown":
                yield info["storage"]


def outage(vms: Mapping[str, Evidence]) -> Iterator[tuple[Found, str]]:
    by_storage = defaultdict(set)
    for vm, evidence in vms.items():
        for storage in failing(evidence):
            by_storage[storage].add(vm)
    for storage, names in by_storage.items():
        if len(names) >= MANY:
            yield {"storage": storage}, ", ".join(sorted(names))


@condition(rates=(READS, WRITES, READ_TIME, WRITE_TIME))
def slow(evidence: Evidence) -> Iterable[Found]:
    reads, writes = evidence.rates(READS), evidence.rates(WRITES)
    if not any(rate > 0 for rate in (*reads.values(), *writes.values())):
        return
    read_time, write_time = evidence.rates(READ_TIME), evidence.rates(WRITE_TIME)
    for labels in reads.keys() & writes.keys() & read_time.keys() & write_time.keys():
        requests = reads[labels] + writes[labels]
        if requests > 1 and (read_time[labels] + write_time[labels]) / requests > SLOW:
            yield evidence.named(READS, labels)


TROUBLES = (
    Trouble(
        "QEMUVMStoppedOnIOError",
        "critical",
        short="stopped on an I/O error",
        first="mend the storage, then resume it",
        detail=where,
        summary="A VM stands still because of an I/O error.",
        meaning="""
            QEMU has stopped VM {{ $labels.vm }} on {{ $labels.instance }} after an I/O error, as its disk's error
            policy (werror=stop, rerror=stop, or enospc) demands. The guest stands still until it is resumed.
            """,
        more=Lookup(
            'last_over_time(qemu_block_io_status{instance=%q,vm=%q,status!="ok"}[15m]) == 1',
            ("instance", "vm"),
            "Disk {{ .Labels.device }}: {{ .Labels.status }}.",
        ),
        todo="""
            the disk is the one named here, or find it by qemu_block_io_status{vm="{{ $labels.vm }}",status!="ok"} == 1
            (failed: an error; nospace: no room left) and by
            increase(qemu_block_io_errors_total{vm="{{ $labels.vm }}"}[1h]) > 0. Look into its storage (dmesg, free
            space, multipath, Ceph or NFS) and fix that. Only then resume the VM (`virsh resume`, `qm resume`, or `cont`
            on its monitor): the failed request is tried again, none is lost.
            """,
        expr='last_over_time(qemu_vm_state{state="io-error"}[15m]) == 1',
        reason="""
            The last state known. States vanish with the monitor, and a VM that stopped has not recovered
            because nobody can look any more: 15m hand over to QEMUMonitorUnreachable or QMPExporterDown without
            a gap.
            """,
        when=held("qemu_vm_state", 900, state="io-error"),
        inhibits=("QEMUBlockIOErrors",),
    ),
    Trouble(
        "QEMUStorageOutage",
        "critical",
        short="disks of several VMs fail on one storage",
        first="mend the storage, then resume the VMs",
        summary="Disks of several VMs fail on one storage.",
        meaning="""
            {{ $value }} VMs on {{ $labels.instance }} have I/O errors, or stand still because of them, on the storage
            {{ $labels.storage }}:
            """,
        more=Lookup(
            """
            count by (vm) (
              qemu_block_info{instance=%q,storage=%q} and on (job, instance, vm, device) (
                sum by (job, instance, vm, device) (increase(qemu_block_io_errors_total[10m])) > 0
                or max by (job, instance, vm, device) (qemu_block_io_status{status=~"failed|nospace"}) == 1
              )
            )
            """,
            ("instance", "storage"),
            "{{ .Labels.vm }}",
        ),
        todo="""
            the storage itself: its server, its network, free space, `journalctl --dmesg` of the host. VMs that
            stopped lose nothing while they wait: when the storage is back, resume them (`virsh resume`, `qm resume`,
            or `cont` on the monitor). Those with a policy of report have handed the errors to their guests.
            """,
        expr="""
            count by (job, instance, storage) (
              count by (job, instance, storage, vm) (
                max by (job, instance, storage, vm, device) (last_over_time(qemu_block_info{storage!="unknown"}[15m]))
                and on (job, instance, vm, device) (
                  sum by (job, instance, vm, device) (increase(qemu_block_io_errors_total[10m])) > 0
                  or max by (job, instance, vm, device) (
                    last_over_time(qemu_block_io_status{status=~"failed|nospace"}[15m])
                  ) == 1
                )
              )
            ) >= $threshold
            """,
        reason="""
            Many disks that fail on one storage are one fault. By host, for rpool or /dev/sda are on all of
            them. Let it inhibit QEMUVMStoppedOnIOError and QEMUBlockIOErrors of its host: alertmanager.yml
            shows how.
            """,
        threshold=MANY,
        when=OverVms(outage, counters=(ERRORS,), gauges=(STATUS, INFO)),
        keeps=300,
    ),
    Trouble(
        "QEMUBlockIOErrors",
        "warning",
        short="I/O errors",
        first="the storage behind the disk",
        summary="A disk of a VM reports I/O errors.",
        meaning="""
            Disk {{ $labels.device }} of VM {{ $labels.vm }} on {{ $labels.instance }} had {{ $labels.operation }}
            errors in the last 10 minutes. Depending on its policy the guest has seen them, or the VM has stopped;
            ignored ones are gone without a trace. QEMU reports at most one a second: there may have been more.
            """,
        todo="""
            the storage behind the disk: dmesg on the host, free space, multipath, Ceph or NFS.
            qemu_block_io_errors_total{vm="{{ $labels.vm }}"} by action tells what QEMU did with them; look for damage
            in the guest's file systems after action="report" on a write.
            """,
        expr="""
            sum without (action) (increase(qemu_block_io_errors_total{action!="stop"}[10m])) > 0
            or
            sum without (action) (
              qemu_block_io_errors_total{action!="stop"} unless qemu_block_io_errors_total{action!="stop"} offset 10m
            ) > 0
            or
            (
              sum without (action) (increase(qemu_block_io_errors_total{action="stop"}[10m])) > 0
              or
              sum without (action) (
                qemu_block_io_errors_total{action="stop"} unless qemu_block_io_errors_total{action="stop"} offset 10m
              ) > 0
            )
            unless on (job, instance, vm) max_over_time(qemu_vm_state{state="io-error"}[30m]) == 1
            """,
        reason="""
            Without the action: one incident, one alert. Of an error that has stopped its VM
            QEMUVMStoppedOnIOError tells, and it would come after that is over otherwise; a VM that was resumed
            between two scrapes was never seen so.
            """,
        when=erring,
        keeps=900,
    ),
    Trouble(
        "QEMUBlockLatencyHigh",
        "warning",
        short="a disk is slow",
        first="the load of its storage",
        summary="The reads and writes of a disk take long.",
        meaning="""
            Reads and writes of disk {{ $labels.device }} of VM {{ $labels.vm }} on {{ $labels.instance }} have taken
            more than $threshold s on average for 10 minutes: {{ $value | humanizeDuration }}. The guest feels it, and
            may stop next.
            """,
        todo="""
            qemu_block_info has the `storage` of the disk; look at its load, and whether other disks on it are slow,
            too. A limit set for the disk (qemu_block_throttle_limit_bytes_per_second) looks the same from outside.
            """,
        expr="""
            (
              rate(qemu_block_read_time_seconds_total[10m]) + rate(qemu_block_write_time_seconds_total[10m])
            ) / (
              rate(qemu_block_reads_completed_total[10m]) + rate(qemu_block_writes_completed_total[10m])
            ) > $threshold
            and rate(qemu_block_reads_completed_total[10m]) + rate(qemu_block_writes_completed_total[10m]) > 1
            """,
        reason="""
            Without the floor one slow request in ten minutes would be an average.
            """,
        threshold=SLOW,
        when=slow,
        lasts=600,
    ),
    Trouble(
        "QEMUBlockOperationsFailed",
        "warning",
        short="reads or writes failed without an event",
        first="the ISO image, or the disk's storage",
        summary="Operations of a disk fail, and QEMU sends no event.",
        meaning="""
            Operations of disk {{ $labels.device }} of VM {{ $labels.vm }} on {{ $labels.instance }} failed in the last
            10 minutes, as its guest was told. A CD-ROM drive that cannot read its medium, or an NVMe disk, sends no
            event.
            """,
        todo="""
            qemu_block_failed_operations_total{vm="{{ $labels.vm }}"} by operation. For a CD-ROM drive look at the ISO
            image and the storage that it is on, for a disk at its storage: `journalctl --dmesg` of the host, free
            space, NFS or Ceph.
            """,
        expr="""
            sum without (operation) (increase(qemu_block_failed_operations_total[10m])) > 0
            unless on (job, instance, vm, device) sum by (job, instance, vm, device) (
              increase(qemu_block_io_errors_total[10m])
            ) > 0
            """,
        reason="Of those that an event told QEMUBlockIOErrors tells.",
        when=failed_silently,
        keeps=900,
    ),
)
