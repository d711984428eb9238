"""What the dashboards of Grafana show: each board with its rows of panels, each panel with its queries."""

from board import FIRING, TIME, Board, by_storage, latency, lines, number, of_storage, rate, risen, states, table, top

FULLNESS = " / ".join(map(of_storage, ("qemu_block_allocated_bytes{%H}", "qemu_block_size_bytes{%H}")))
PROGRESS = "qemu_block_job_offset_bytes{%V} / (qemu_block_job_length_bytes{%V} > 0)"

FLEET = Board(
    "qemu-fleet",
    "QEMU: fleet",
    "All VMs of the chosen hypervisors: what is wrong, who uses what.",
    {
        "Now": (
            number("VMs", "VMs that are watched.", "count(qemu_up{%H})"),
            number("Running", "VMs whose vCPUs run.", "sum(qemu_vm_running{%H})"),
            number("Out of reach", "VMs without a monitor.", "count(qemu_up{%H} == 0) or vector(0)"),
            number("Alerts", "Alerts that fire.", f"count({FIRING}) or vector(0)"),
            number(
                "I/O errors",
                "I/O errors of disks in the last hour.",
                "sum(increase(qemu_block_io_errors_total{%H}[1h])) or vector(0)",
            ),
            number("Hypervisors", "Exporters that answer.", "count(qmp_exporter_build_info{%H})"),
            table("What is wrong", "Alerts that fire; the name leads to the runbook.", FIRING, 24),
            table(
                "VMs that do not run",
                "VMs that are stopped, by their run state.",
                'qemu_vm_state{%H,state!="running"} == 1',
            ),
            table(
                "Monitors",
                "Why a monitor is out of reach, or does not answer.",
                'qemu_monitor_state{%H,state!~"connected|visited"} == 1',
            ),
        ),
        "Over time": (
            lines(
                "VMs by run state",
                "How many VMs are in each run state.",
                "short",
                {"{{state}}": "sum by (state) (qemu_vm_state{%H}) > 0"},
                stacked=True,
            ),
            lines(
                "I/O errors by VM",
                "As the guests met them.",
                "short",
                {"{{vm}} {{device}} {{operation}}": risen("qemu_block_io_errors_total", "vm, device, operation", "%H")},
            ),
        ),
        "Who uses what": (
            lines(
                "CPU",
                "CPUs of the host that a QEMU process uses.",
                "short",
                {"{{vm}}": top("qemu_process_cpu_seconds_total")},
            ),
            lines(
                "Steal",
                "How many of its vCPUs wait for a CPU of the host.",
                "short",
                {"{{vm}}": top("qemu_vcpu_run_delay_seconds_total")},
            ),
            lines(
                "Memory of the host",
                "Resident memory of QEMU processes.",
                "bytes",
                {"{{vm}}": "topk(10, qemu_process_resident_memory_bytes{%H})"},
            ),
            lines(
                "Disk",
                "What the disks of a VM read and write.",
                "Bps",
                {
                    "{{vm}} reads": top("qemu_block_read_bytes_total"),
                    "{{vm}} writes": top("qemu_block_written_bytes_total"),
                },
            ),
            lines(
                "Network",
                "What guests receive and send.",
                "Bps",
                {
                    "{{vm}} receives": top("qemu_network_receive_bytes_total"),
                    "{{vm}} sends": top("qemu_network_transmit_bytes_total"),
                },
            ),
            lines(
                "VMs of each hypervisor",
                "How many are watched.",
                "short",
                {"{{instance}}": "count by (instance) (qemu_up{%H})"},
            ),
        ),
    },
)

VM = Board(
    "qemu-vm",
    "QEMU: one VM",
    "One VM from its run state to its network.",
    {
        "State": (
            states("Run state", "As QEMU says it.", "qemu_vm_state{%V} == 1"),
            states("Monitor", "The connection to QEMU.", "qemu_monitor_state{%V} == 1"),
            table(
                "What is wrong",
                "Alerts about this VM that fire.",
                'ALERTS{vm=~"$vm",alertname=~"QEMU.*",alertstate="firing"}',
            ),
            table("Who it is", "Name, UUID and version of QEMU.", "qemu_vm_info{%V}"),
            lines(
                "Stops, resets, shutdowns",
                "How often in five minutes, by the reason.",
                "short",
                {
                    "stops": "sum(increase(qemu_vm_stops_total{%V}[5m]))",
                    "reset: {{reason}}": risen("qemu_vm_resets_total", "reason"),
                    "shutdown: {{reason}}": risen("qemu_vm_shutdowns_total", "reason"),
                },
            ),
            lines(
                "Events",
                "What QEMU sends, in five minutes.",
                "short",
                {"{{event}}": risen("qemu_events_total", "event")},
            ),
        ),
        "CPU and memory": (
            lines(
                "vCPUs",
                "CPUs of the host that each vCPU uses.",
                "short",
                {"vCPU {{vcpu}}": rate("qemu_vcpu_cpu_seconds_total", "vcpu")},
            ),
            lines(
                "Steal",
                "For how much of the time each vCPU waits for a CPU of the host.",
                "percentunit",
                {
                    "vCPU {{vcpu}}": rate("qemu_vcpu_run_delay_seconds_total", "vcpu"),
                    "held back by the quota": f"sum(rate(qemu_cgroup_cpu_throttled_seconds_total{{%V}}[{TIME}]))",
                },
            ),
            lines(
                "Memory of the host",
                "What QEMU's process takes.",
                "bytes",
                {
                    "resident": "sum(qemu_process_resident_memory_bytes{%V})",
                    "huge pages": "sum(qemu_process_hugetlb_bytes{%V})",
                    "swap": "sum(qemu_process_swap_bytes{%V})",
                },
            ),
            lines(
                "Memory of the guest",
                "As the guest tells it, where the balloon is armed.",
                "bytes",
                {
                    "total": "sum(qemu_guest_memory_total_bytes{%V})",
                    "available": "sum(qemu_guest_memory_available_bytes{%V})",
                    "disk caches": "sum(qemu_guest_memory_disk_caches_bytes{%V})",
                    "left by the balloon": "sum(qemu_balloon_actual_bytes{%V})",
                },
            ),
        ),
        "Disks": (
            lines(
                "Bytes",
                "What each disk reads and writes.",
                "Bps",
                {
                    "{{device}} reads": rate("qemu_block_read_bytes_total", "device"),
                    "{{device}} writes": rate("qemu_block_written_bytes_total", "device"),
                },
            ),
            lines(
                "Requests",
                "Requests that were completed.",
                "iops",
                {
                    "{{device}} reads": rate("qemu_block_reads_completed_total", "device"),
                    "{{device}} writes": rate("qemu_block_writes_completed_total", "device"),
                },
            ),
            lines(
                "Latency",
                "What a request takes on average.",
                "s",
                {"{{device}} reads": latency("read", "device"), "{{device}} writes": latency("write", "device")},
            ),
            lines(
                "Errors",
                "I/O errors in five minutes, and operations that failed without an event.",
                "short",
                {
                    "{{device}} {{operation}} {{action}}": risen(
                        "qemu_block_io_errors_total", "device, operation, action"
                    ),
                    "{{device}} {{operation}} failed": risen("qemu_block_failed_operations_total", "device, operation"),
                },
            ),
            table("Images", "File, format, cache mode and storage of each disk.", "qemu_block_info{%V}", 24),
        ),
        "Network and screens": (
            lines(
                "Network",
                "In the direction of the guest.",
                "Bps",
                {
                    "{{interface}} receives": rate("qemu_network_receive_bytes_total", "interface"),
                    "{{interface}} sends": rate("qemu_network_transmit_bytes_total", "interface"),
                },
            ),
            lines(
                "Screens",
                "Sessions of VNC and SPICE.",
                "short",
                {"VNC": "sum(qemu_vnc_sessions{%V})", "SPICE": "sum(qemu_spice_sessions{%V})"},
            ),
        ),
    },
    vm=True,
    one=True,
)

STORAGE = Board(
    "qemu-storage",
    "QEMU: storage",
    "What VMs see of the storages that their disks are on.",
    {
        "By storage": (
            lines(
                "Errors",
                "I/O errors in five minutes by the storage of the disk.",
                "short",
                {"{{storage}}": of_storage("increase(qemu_block_io_errors_total{%H}[5m])")},
            ),
            lines(
                "Latency",
                "What a request takes on average.",
                "s",
                {"{{storage}} reads": latency("read", "storage"), "{{storage}} writes": latency("write", "storage")},
            ),
            lines(
                "Bytes",
                "What is read and written.",
                "Bps",
                {
                    "{{storage}} reads": by_storage("qemu_block_read_bytes_total"),
                    "{{storage}} writes": by_storage("qemu_block_written_bytes_total"),
                },
            ),
            lines(
                "Fullness of images",
                "How much of what guests may write their images take up.",
                "percentunit",
                {"{{storage}}": FULLNESS},
            ),
            table("Disks that fail now", "Their latched status.", 'qemu_block_io_status{%H,status!="ok"} == 1'),
            table(
                "Disks by storage", "How many disks are on each.", "count by (instance, storage) (qemu_block_info{%H})"
            ),
        ),
        "Disks": (
            lines(
                "The slowest reads",
                "What a read takes on average.",
                "s",
                {
                    "{{vm}} {{device}}": f"topk(10, rate(qemu_block_read_time_seconds_total{{%H}}[{TIME}]) "
                    f"/ (rate(qemu_block_reads_completed_total{{%H}}[{TIME}]) > 0))"
                },
            ),
            lines(
                "The slowest writes",
                "What a write takes on average.",
                "s",
                {
                    "{{vm}} {{device}}": f"topk(10, rate(qemu_block_write_time_seconds_total{{%H}}[{TIME}]) "
                    f"/ (rate(qemu_block_writes_completed_total{{%H}}[{TIME}]) > 0))"
                },
            ),
            table(
                "Snapshots",
                "Internal snapshots of images, and how old the oldest is.",
                "time() - qemu_block_oldest_snapshot_timestamp_seconds{%H}",
                unit="s",
            ),
            table("Long chains", "Backing files of each disk.", "topk(20, qemu_block_backing_files{%H} > 0)"),
        ),
    },
)

JOBS = Board(
    "qemu-jobs",
    "QEMU: jobs and migrations",
    "Backups, mirrors and migrations: how far they are, and how they ended.",
    {
        "Block jobs": (
            lines(
                "Progress",
                "How far each job is.",
                "percentunit",
                {"{{vm}} {{type}} {{job_id}}": PROGRESS},
            ),
            lines(
                "Ended",
                "Jobs that ended in an hour, by how.",
                "short",
                {"{{type}} {{result}}": risen("qemu_block_jobs_finished_total", "type, result", window="1h")},
            ),
            table("Now", "The status of each job.", "qemu_block_job_status{%V} == 1", 24),
        ),
        "Migrations": (
            lines(
                "Memory that is left", "Yet to be sent.", "bytes", {"{{vm}}": "qemu_migration_ram_remaining_bytes{%V}"}
            ),
            lines(
                "Sent and changed",
                "A migration ends when it sends faster than the guest changes its memory.",
                "Bps",
                {
                    "{{vm}} changes": "qemu_migration_dirty_bytes_per_second{%V}",
                    "{{vm}} is sent": f"deriv(qemu_migration_ram_transferred_bytes{{%V}}[{TIME}])",
                },
            ),
            table("Status", "Of the last or current migration of each VM.", "qemu_migration_status{%V} == 1", 24),
        ),
    },
    vm=True,
)

EXPORTER = Board(
    "qemu-exporter",
    "QEMU: exporters",
    "The exporters themselves: what they watch, how fast QEMU answers, what they cost.",
    {
        "Targets": (
            lines(
                "Monitors",
                "By their state.",
                "short",
                {"{{state}}": "sum by (state) (qmp_exporter_targets{%H})"},
                stacked=True,
            ),
            table(
                "Sources",
                "1 where VMs are found, or dial in; 0 where that does not work.",
                "qmp_exporter_source_up{%H}",
            ),
            table("Not watched", "What was found and gives no target.", "qmp_exporter_targets_refused{%H} > 0"),
            table("Versions", "Which exporter runs where.", "qmp_exporter_build_info{%H}"),
        ),
        "QEMU's answers": (
            lines(
                "Time of a query",
                "The 99th percentile by query.",
                "s",
                {
                    "{{command}}": "histogram_quantile(0.99, sum by (command, le) "
                    f"(rate(qmp_exporter_command_duration_seconds_bucket{{%H}}[{TIME}])))"
                },
            ),
            lines(
                "Errors",
                "Queries without a reply that is used, in five minutes.",
                "short",
                {"{{command}} {{reason}}": risen("qmp_exporter_command_errors_total", "command, reason", "%H")},
            ),
        ),
        "The exporter": (
            lines(
                "CPU",
                "CPUs that its two processes use.",
                "short",
                {
                    "{{instance}} watcher": f"rate(process_cpu_seconds_total{{%H}}[{TIME}])",
                    "{{instance}} web": f"rate(qmp_exporter_web_process_cpu_seconds_total{{%H}}[{TIME}])",
                },
            ),
            lines(
                "Memory",
                "Resident.",
                "bytes",
                {
                    "{{instance}} watcher": "process_resident_memory_bytes{%H}",
                    "{{instance}} web": "qmp_exporter_web_process_resident_memory_bytes{%H}",
                },
            ),
            lines(
                "Time of a page",
                "Without its compression.",
                "s",
                {"{{instance}}": "qmp_exporter_render_duration_seconds{%H}"},
            ),
            lines(
                "Late",
                "How late the event loop was at most.",
                "s",
                {"{{instance}}": "qmp_exporter_event_loop_lag_seconds{%H}"},
            ),
        ),
    },
)

BOARDS = (FLEET, VM, STORAGE, JOBS, EXPORTER)
