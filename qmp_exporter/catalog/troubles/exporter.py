"""What can be wrong with the exporter itself, or between it and those who rely on it."""

from collections.abc import Iterable

from qmp_exporter.core.evidence import Evidence
from qmp_exporter.core.trouble import Found, Trouble, condition, rose

LIBVIRT = "libvirt "  # how the names of such sources begin
REFUSED = "nameless|name_taken|twice|process|too_many"  # callers that may be VMs


@condition(counters=("qmp_exporter_dial_in_refused_total",))
def not_watched(evidence: Evidence) -> Iterable[Found]:
    if (
        evidence.those("qmp_exporter_targets_refused")
        or evidence.those("qmp_exporter_target_collisions")
        or evidence.rises("qmp_exporter_dial_in_refused_total", 600, {"reason": REFUSED})
    ):
        yield {}


@condition()
def blind(evidence: Evidence) -> Iterable[Found]:
    late = [
        found for found, at in evidence.by_labels("qmp_exporter_last_look_timestamp_seconds") if evidence.at - at > 300
    ]
    down = [found for found in evidence.zeros("qmp_exporter_source_up") if not found["source"].startswith(LIBVIRT)]
    yield from (*down, *(found for found in late if found not in down))


@condition()
def libvirt_unreachable(evidence: Evidence) -> Iterable[Found]:
    return (found for found in evidence.zeros("qmp_exporter_source_up") if found["source"].startswith(LIBVIRT))


@condition()
def no_targets(evidence: Evidence) -> Iterable[Found]:
    if not evidence.values("qmp_exporter_targets"):
        yield {}


@condition()
def config_bad(evidence: Evidence) -> Iterable[Found]:
    if evidence.is_zero("qmp_exporter_config_last_reload_successful") or evidence.is_zero(
        "qmp_exporter_web_config_last_reload_successful"
    ):
        yield {}


TROUBLES = (
    Trouble(
        "QMPExporterDown",
        "warning",
        short="Prometheus cannot reach the exporter",
        first="`systemctl status qmp-exporter`",
        summary="Prometheus cannot reach the exporter of a hypervisor.",
        meaning="""
            The exporter at {{ $labels.instance }} has not answered for 5 minutes. All its VMs are without
            monitoring, and what they report meanwhile is lost: QEMU's events are not repeated.
            """,
        todo="""
            on the host, `systemctl status qmp-exporter` and `journalctl -u qmp-exporter`. Exit status 2 is
            a configuration it refuses, `qmp-exporter check-config /etc/qmp-exporter/config.yaml` names the line. If it
            runs, look at the network, the firewall and TLS between Prometheus and the host.
            """,
        expr='up{job="qmp-exporter"} == 0',
        when=None,
        wait=300,
    ),
    Trouble(
        "QMPExporterTargetsNotWatched",
        "warning",
        short="VMs were found that are not watched",
        first="`journalctl -u qmp-exporter -p warning`",
        summary="An exporter has found VMs that it does not watch.",
        meaning="""
            The exporter at {{ $labels.instance }} has found sockets, files or callers for 15 minutes that give no
            target: some VM may be without monitoring and without a series to say so.
            """,
        todo="""
            `journalctl -u qmp-exporter -p warning` names each ("not watched", "a connection was turned away")
            with its reason. Fix the name, owner or file, or exclude it in the configuration.
            """,
        expr="""
            sum without (source, reason) (qmp_exporter_targets_refused) > 0
            or sum without (same) (qmp_exporter_target_collisions) > 0
            or sum without (reason) (
              increase(qmp_exporter_dial_in_refused_total{reason=~"nameless|name_taken|twice|process|too_many"}[10m])
            ) > 0
            """,
        reason="""
            `twice` is right while a VM migrates on its host, and a look may meet a file that is being written:
            hence "for".
            """,
        when=not_watched,
        has_own_lines=True,
        wait=900,
    ),
    Trouble(
        "QMPExporterDiscoveryStuck",
        "warning",
        short="new VMs are not seen",
        first="the reason below, and in `/-/ready`",
        summary="An exporter does not see new VMs.",
        meaning="""
            The exporter at {{ $labels.instance }} has not been able to look through {{ $labels.source }}, or to listen
            there, for some minutes. The VMs that it knew are watched, new ones are not.
            """,
        todo="""
            on the host, `curl localhost:10065/-/ready` tells the reason, and so does
            `journalctl -u qmp-exporter`: a file system that hangs (NFS?), a directory that may not be read or is not
            there, a group that there is not. `qmp-exporter check-config` says before a reload what cannot work.
            """,
        expr="""
            changes(qmp_exporter_last_look_timestamp_seconds[5m]) == 0
            or qmp_exporter_source_up{source!~"libvirt .*"} == 0
            """,
        reason="""
            It looks every 5 seconds; counted by changes, so that no clock has to be right. Where it never could
            look, or cannot listen for VMs that dial in, there is no such time, and the other half tells.
            """,
        when=blind,
        has_own_lines=True,
        wait=300,
    ),
    Trouble(
        "QMPExporterLibvirtUnreachable",
        "warning",
        short="libvirt is out of reach",
        first="`systemctl status libvirtd`",
        summary="An exporter hears nothing of the domains of a libvirt.",
        meaning="""
            The exporter at {{ $labels.instance }} has not been served by {{ $labels.source }} for 5 minutes. What
            happens to its domains is not seen, and with `commands` they are not asked.
            """,
        todo="""
            on the host, `curl localhost:10065/-/ready` tells the reason. libvirtd does not run or does not
            answer (`systemctl status libvirtd virtqemud`, `virsh list`), does not let the exporter in (its group), or
            QEMUs that hang hold its queries: the reason names them.
            """,
        expr='qmp_exporter_source_up{source=~"libvirt .*"} == 0',
        reason="""
            Of `libvirt:`. A restart of libvirtd takes less. It is also 0 while four QEMUs that hang hold all
            queries.
            """,
        when=libvirt_unreachable,
        has_own_lines=True,
        wait=300,
    ),
    Trouble(
        "QMPExporterSeriesLimited",
        "warning",
        short="a VM has too many series",
        first="which VM has so many, in the log",
        summary="A VM has more disks, jobs or other things than are told apart.",
        meaning="""
            The exporter at {{ $labels.instance }} counts some of what a VM does under "other", since a label has as
            many values there as it may have: its newest disks or jobs are not told apart.
            """,
        todo="""
            `journalctl -u qmp-exporter` names the VM ("too many series"). It has them, or made
            them up; METRICS.md has the bounds. Nothing is wrong with the other VMs.
            """,
        expr="increase(qmp_exporter_series_limited_total[1h]) > 0",
        when=rose("qmp_exporter_series_limited_total", 3600),
        has_own_lines=True,
    ),
    Trouble(
        "QMPExporterConfigBad",
        "warning",
        short="the configuration is refused",
        first="`qmp-exporter check-config`",
        summary="An exporter refuses the configuration that it has.",
        meaning="""
            The exporter at {{ $labels.instance }} has met a mistake in its configuration, its web configuration or a
            certificate for 10 minutes. What it had before holds until it is restarted, and then it will not start; a
            certificate that was not renewed ends.
            """,
        todo="""
            `journalctl -u qmp-exporter` tells each mistake with line and column, and so does
            `qmp-exporter check-config`. Fix the file, then reload; web configuration and certificates are read by
            themselves.
            """,
        expr="""
            qmp_exporter_config_last_reload_successful == 0
            or qmp_exporter_web_config_last_reload_successful == 0
            """,
        when=config_bad,
        has_own_lines=True,
        wait=600,
    ),
    Trouble(
        "QMPExporterNoTargets",
        "warning",
        short="no VM is watched",
        first="`qmp-exporter diagnose`, or the host is empty",
        summary="An exporter watches no VM.",
        meaning="""
            The exporter at {{ $labels.instance }} has had no VM to watch for an hour: neither its configuration nor
            what it looks through gave one.
            """,
        todo="""
            Is the host empty? Then silence this alert while it is. Else `qmp-exporter diagnose` on the host says why
            none is found: another directory than the one in `discover`, VMs without a monitor, libvirt that is not
            listed.
            """,
        expr="group by (job, instance) (qmp_exporter_build_info) unless on (job, instance) qmp_exporter_targets",
        when=no_targets,
        lasts=3600,
    ),
    Trouble(
        "QMPExporterMissing",
        "warning",
        short="Prometheus scrapes the exporter no more",
        first="what lists the targets",
        summary="The exporter of a hypervisor is no target of Prometheus any more.",
        meaning="""
            Prometheus had the exporter at {{ $labels.instance }} among its targets a day ago and has not now: whatever
            lists the targets has lost the host. QMPExporterDown cannot tell, for there is nothing that is down.
            """,
        todo="""
            See what should list it (a file of `file_sd_configs`, the inventory behind `http_sd_configs`). A host that
            was taken away on purpose is forgotten after a day.
            """,
        expr="""
            count by (job, instance) (up{job="qmp-exporter"} offset 1d)
            unless on (job, instance) up{job="qmp-exporter"}
            """,
        reason="Each host by itself: absent() tells only when the last of all is gone.",
        when=None,
        wait=900,
    ),
)
