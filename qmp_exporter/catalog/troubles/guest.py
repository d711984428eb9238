"""What can be wrong within a guest, and with what it gets of its host."""

from collections.abc import Iterable

from qmp_exporter.core.evidence import Evidence
from qmp_exporter.core.trouble import Found, Trouble, any_of, condition, held, rose

STARVED = 0.2  # of the time that a vCPU wants to run
THROTTLED = 0.1  # of the time
PANICKED = any_of(
    rose("qemu_guest_panics_total", 600, without=("action", "type")),
    held("qemu_vm_state", 900, without=("state",), state="guest-panicked"),
)


@condition(gauges=("qemu_serial_port_open",))
def agent_gone(evidence: Evidence) -> Iterable[Found]:
    if evidence.those("qemu_vm_running"):
        for found in evidence.zeros("qemu_serial_port_open"):
            if evidence.was("qemu_serial_port_open", 86400, found):
                yield found


@condition(rates=("qemu_vcpu_run_delay_seconds_total",))
def starved(evidence: Evidence) -> Iterable[Found]:
    delays = evidence.rates("qemu_vcpu_run_delay_seconds_total").values()
    if delays and sum(delays) / len(delays) > STARVED:
        yield {}


@condition(rates=("qemu_cgroup_cpu_throttled_seconds_total",))
def throttled(evidence: Evidence) -> Iterable[Found]:
    if any(rate > THROTTLED for rate in evidence.rates("qemu_cgroup_cpu_throttled_seconds_total").values()):
        yield {}


TROUBLES = (
    Trouble(
        "QEMUGuestPanicked",
        "critical",
        short="the guest panicked",
        first="save the console, then reset it",
        summary="The kernel of a guest panicked.",
        meaning="""
            The guest of VM {{ $labels.vm }} on {{ $labels.instance }} said that it panicked. What became of it is up to
            the VM's settings: kept as it is for a look, started again, or ended.
            """,
        todo="""
            qemu_guest_panics_total{vm="{{ $labels.vm }}"} by action tells what QEMU did, qemu_vm_state what it is
            now. Save the console, and `virsh dump --memory-only` while it is kept; then reset or start it.
            """,
        expr="""
            sum without (action, type) (increase(qemu_guest_panics_total[10m])) > 0
            or
            sum without (action, type) (qemu_guest_panics_total unless qemu_guest_panics_total offset 10m) > 0
            or
            sum without (state) (last_over_time(qemu_vm_state{state="guest-panicked"}[15m])) == 1
            """,
        reason="""
            The counter for a guest that was restarted or ended by its panic, the state for one that is kept as
            it is.
            """,
        when=PANICKED,
        keeps=900,
    ),
    Trouble(
        "QEMUWatchdogExpired",
        "warning",
        short="the watchdog expired",
        first="CPU of the host, the guest's log",
        summary="The watchdog of a guest expired.",
        meaning="""
            The guest of VM {{ $labels.vm }} on {{ $labels.instance }} has not fed its watchdog: it hung, or got no CPU.
            """,
        todo="""
            qemu_watchdog_expirations_total{vm="{{ $labels.vm }}"} by action tells what QEMU did about it; after
            reset the guest has started again. rate(qemu_vcpu_run_delay_seconds_total{vm="{{ $labels.vm }}"}[5m])
            near 1 says that the host had no CPU for it; else the reason is in the guest's own log.
            """,
        expr="""
            sum without (action) (increase(qemu_watchdog_expirations_total[10m])) > 0
            or
            sum without (action) (qemu_watchdog_expirations_total unless qemu_watchdog_expirations_total offset 10m) > 0
            """,
        reason="""
            Without the action: one incident, one alert.
            """,
        when=rose("qemu_watchdog_expirations_total", 600, without=("action",)),
        keeps=900,
    ),
    Trouble(
        "QEMUMemoryFailure",
        "warning",
        short="hit by a memory error of the host",
        first="move the VMs, replace the memory module",
        summary="A memory error of the host hit a VM.",
        meaning="""
            An uncorrectable memory error of the host {{ $labels.instance }} hit VM {{ $labels.vm }} in the last hour.
            """,
        todo="""
            qemu_memory_failures_total{vm="{{ $labels.vm }}"} tells whose memory it was and whether the guest was
            told (inject), started again (reset) or ended (fatal). `ras-mc-ctl --errors` or `journalctl --dmesg` on the
            host name the module: move the VMs away and replace it.
            """,
        expr="sum without (action, recipient) (increase(qemu_memory_failures_total[1h])) > 0",
        when=rose("qemu_memory_failures_total", 3600, without=("action", "recipient")),
    ),
    Trouble(
        "QEMUGuestOutOfMemory",
        "warning",
        short="the guest has no memory left",
        first="`dmesg` in the guest",
        summary="A guest has killed processes for want of memory.",
        meaning="""
            The kernel of the guest of VM {{ $labels.vm }} on {{ $labels.instance }} has ended processes in the last 10
            minutes, since it had no memory left.
            """,
        todo="""
            `dmesg` in the guest names them. qemu_guest_memory_available_bytes{vm="{{ $labels.vm }}"} tells
            what is left, qemu_balloon_actual_bytes whether the host has taken memory away from it.
            """,
        expr="increase(qemu_guest_oom_kills_total[10m]) > 0",
        reason="""
            Known where the balloon is armed, from QEMU 9.2 and Linux 6.12 in the guest on.
            """,
        when=rose("qemu_guest_oom_kills_total", 600),
        keeps=900,
    ),
    Trouble(
        "QEMUVCPUStarved",
        "warning",
        short="vCPUs wait for a CPU of the host",
        first="the load of the host",
        summary="The vCPUs of a VM wait for CPUs of the host.",
        meaning="""
            The vCPUs of VM {{ $labels.vm }} on {{ $labels.instance }} have waited {{ $value | humanizePercentage }} of
            the time for a CPU of the host, for 15 minutes; the guest sees it as steal.
            """,
        todo="""
            move VMs to another host, or give this one more CPU shares. qemu_cgroup_cpu_throttled_seconds_total
            tells whether a quota of its own holds it back.
            """,
        expr="avg by (job, instance, vm) (rate(qemu_vcpu_run_delay_seconds_total[10m])) > $threshold",
        threshold=STARVED,
        when=starved,
        lasts=900,
    ),
    Trouble(
        "QEMUCgroupThrottled",
        "warning",
        short="its CPU quota holds it back",
        first="the quota",
        summary="A VM is held back by its CPU quota.",
        meaning="""
            VM {{ $labels.vm }} on {{ $labels.instance }} was not allowed to run {{ $value | humanizePercentage }} of
            the time, for 15 minutes: its control group had used up its CPU quota. The guest sees it as steal, and its
            disks as slow.
            """,
        todo="""
            raise the quota (`virsh schedinfo`, `qm set --cpulimit`, CPUQuota= of its unit), or give it less to do.
            """,
        expr="rate(qemu_cgroup_cpu_throttled_seconds_total[10m]) > $threshold",
        threshold=THROTTLED,
        when=throttled,
        lasts=900,
    ),
    Trouble(
        "QEMUGuestAgentGone",
        "warning",
        short="the guest agent has gone",
        first="the agent in the guest",
        summary="A program in a guest has closed its port to the host.",
        meaning="""
            Nothing in the guest of VM {{ $labels.vm }} on {{ $labels.instance }} has held the port {{ $labels.port }}
            open for 15 minutes, and within the last day something had. On most VMs that is the guest agent: backups do
            not freeze the file systems any more, and a shutdown may not reach the guest.
            """,
        todo="""
            `systemctl status qemu-guest-agent` in the guest (on Windows the service QEMU-GA), and start it. Another
            system in the guest may have none.
            """,
        expr="""
            qemu_serial_port_open == 0
            and max_over_time(qemu_serial_port_open[1d]) == 1
            and on (job, instance, vm) qemu_vm_running == 1
            """,
        when=agent_gone,
        lasts=900,
    ),
)
