"""The interfaces of a VM -> what is on the page of them."""

from play import Story
from qmp_exporter.core.process import InterfaceInfo, ProcessInfo

COUNTERS = {f"{way}_{what}": 1 for way in ("receive", "transmit") for what in ("bytes", "packets", "errors", "drops")}
TAP = InterfaceInfo("tap101i0", "net0", "52:54:00:aa:bb:cc", COUNTERS | {"receive_bytes": 100, "transmit_drops": 7})
PROCESS = ProcessInfo(12.5, 64 << 20, 30, {}, interfaces=(TAP,))


def test_an_interface_is_named_and_its_traffic_counted():
    story = Story()
    story.vm.process(PROCESS, story.now)
    story.says('qemu_network_info{interface="tap101i0",mac="52:54:00:aa:bb:cc",netdev="net0"}', 1)
    story.says('qemu_network_receive_bytes_total{interface="tap101i0"}', 100)
    story.says('qemu_network_transmit_drops_total{interface="tap101i0"}', 7)
    assert len([sample for sample in story.page() if sample.startswith("qemu_network_")]) == 9


def test_an_interface_that_was_unplugged_is_gone():
    story = Story()
    story.vm.process(PROCESS, story.now)
    story.vm.process(PROCESS._replace(interfaces=()), story.now)
    story.scraped_for_long()
    story.says_nothing_of("qemu_network_")
