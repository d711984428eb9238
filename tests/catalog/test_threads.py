"""The threads of QEMU beside the vCPUs: which they are, and what the host says of them."""

from play import Story
from qmp_exporter.core.process import HOST_WANTS, ProcessInfo, ThreadInfo

PROCESS = ProcessInfo(12.5, 64 << 20, 30, {0: ThreadInfo(4.0, 0.25)})


def test_the_threads_of_iothreads_are_remembered():
    story = Story()
    story.answers("query-iothreads", [{"id": "iothread0", "thread-id": 77, "poll-max-ns": 32768}])
    assert story.vm.facts[HOST_WANTS].iothreads == {"iothread0": 77}


def test_each_thread_with_a_name_is_told_and_the_rest():
    story = Story()
    threads = {"iothread0": ThreadInfo(2.0, 0.5)}
    process = PROCESS._replace(iothreads=threads, vhost_cpu_seconds=1.5, emulator_cpu_seconds=5.0)
    story.vm.process(process, story.now)
    story.says('qemu_iothread_cpu_seconds_total{iothread="iothread0"}', 2.0)
    story.says('qemu_iothread_run_delay_seconds_total{iothread="iothread0"}', 0.5)
    story.says("qemu_vhost_cpu_seconds_total", 1.5)
    story.says("qemu_emulator_cpu_seconds_total", 5.0)


def test_without_vhost_nothing_is_said_of_it():
    story = Story()
    story.vm.process(PROCESS._replace(emulator_cpu_seconds=5.0), story.now)
    story.says_nothing_of("qemu_vhost")
    story.says_nothing_of("qemu_iothread_cpu")
