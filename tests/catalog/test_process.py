"""What the host says of QEMU's process, and which of its threads are vCPUs."""

from play import Story
from qmp_exporter.core.process import HOST_WANTS, ProcessInfo, ThreadInfo

TWO = [{"cpu-index": 0, "thread-id": 1000}, {"cpu-index": 1, "thread-id": 1001}]
PROCESS = ProcessInfo(12.5, 64 << 20, 30, {0: ThreadInfo(4.0, 0.25), 1: ThreadInfo(3.0, 0.0)})


def test_the_vcpus_are_counted_and_their_threads_remembered():
    story = Story()
    story.answers("query-cpus-fast", TWO)
    story.says("qemu_vcpus", 2)
    assert story.vm.facts[HOST_WANTS].vcpus == {0: 1000, 1: 1001}


def test_the_process_is_on_the_page_as_the_host_tells_it():
    story = Story()
    story.vm.process(PROCESS, story.now)
    story.says("qemu_process_cpu_seconds_total", 12.5)
    story.says("qemu_process_resident_memory_bytes", 64 << 20)
    story.says("qemu_process_open_fds", 30)
    story.says('qemu_vcpu_cpu_seconds_total{vcpu="0"}', 4)
    story.says('qemu_vcpu_cpu_seconds_total{vcpu="1"}', 3)
    story.says('qemu_vcpu_run_delay_seconds_total{vcpu="0"}', 0.25)


def test_what_the_host_does_not_tell_is_absent():
    story = Story()
    story.vm.process(PROCESS._replace(open_fds=None), story.now)
    story.says_nothing_of("qemu_process_open_fds")


def test_a_process_that_can_no_longer_be_looked_at_leaves_the_page():
    story = Story()
    story.vm.process(PROCESS, story.now)
    story.vm.process(None, story.now)
    story.says_nothing_of("qemu_process_resident_memory_bytes")
    story.scraped_for_long()
    story.says_nothing_of("qemu_process_")
    story.says_nothing_of("qemu_vcpu_")


def test_threads_are_forgotten_with_the_monitor():
    story = Story()
    story.answers("query-cpus-fast", TWO)
    story.disconnects()
    assert story.vm.facts[HOST_WANTS].vcpus == {}


def test_what_the_host_does_not_tell_of_the_process_is_left_out():
    story = Story()
    story.vm.process(PROCESS, story.now)
    for family in ("max_fds", "start_time_seconds", "threads", "swap_bytes", "hugetlb_bytes", "major_faults_total"):
        story.says_nothing_of(f"qemu_process_{family}")
    told = PROCESS._replace(
        start_time=1.5, threads=7, major_faults=3, swap_bytes=4096, hugetlb_bytes=2 << 20, max_fds=1024
    )
    story.vm.process(told, story.now)
    story.says("qemu_process_start_time_seconds", 1.5)
    story.says("qemu_process_threads", 7)
    story.says("qemu_process_major_faults_total", 3)
    story.says("qemu_process_swap_bytes", 4096)
    story.says("qemu_process_hugetlb_bytes", 2 << 20)
    story.says("qemu_process_max_fds", 1024)
