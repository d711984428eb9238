"""The control group of a VM -> what is on the page of it."""

from play import Story
from qmp_exporter.core.process import CgroupInfo, ProcessInfo

CGROUP = CgroupInfo(
    cpu_quota=1.5,
    throttled_seconds=0.25,
    pressure={("io", "some"): 2.5, ("io", "full"): 1.0},
    memory_events={"oom_kill": 1, "oom": 2, "sock_throttled": 9},
    memory_current=4096,
    memory_max=8192,
    memory_high=None,
)
PROCESS = ProcessInfo(12.5, 64 << 20, 30, {}, cgroup=CGROUP)


def test_what_a_group_tells_is_on_the_page():
    story = Story()
    story.vm.process(PROCESS, story.now)
    story.says("qemu_cgroup_cpu_quota_cpus", 1.5)
    story.says("qemu_cgroup_cpu_throttled_seconds_total", 0.25)
    story.says('qemu_cgroup_pressure_seconds_total{kind="some",resource="io"}', 2.5)
    story.says('qemu_cgroup_pressure_seconds_total{kind="full",resource="io"}', 1.0)
    story.says('qemu_cgroup_memory_events_total{event="oom_kill"}', 1)
    story.says("qemu_cgroup_memory_current_bytes", 4096)
    story.says("qemu_cgroup_memory_max_bytes", 8192)


def test_a_limit_that_is_not_set_and_an_event_of_a_newer_kernel_are_left_out():
    story = Story()
    story.vm.process(PROCESS, story.now)
    story.says_nothing_of("qemu_cgroup_memory_high_bytes")
    assert [sample for sample in story.page() if "throttled" in sample] == ["qemu_cgroup_cpu_throttled_seconds_total"]


def test_a_vm_without_a_group_of_its_own_says_nothing():
    story = Story()
    story.vm.process(PROCESS._replace(cgroup=None), story.now)
    story.says_nothing_of("qemu_cgroup_")
