"""What KVM counts: only where it is named, only from a QEMU that does not interrupt vCPUs for it."""

import json

import pytest

from play import Story
from qmp_exporter.catalog import CATALOG, without
from qmp_exporter.core.wire import BadMessage

NAMES = ("exits", "halt_wait_ns", "remote_tlb_flush", "nx_lpage_splits", "guest_mode")
CHOSEN = without(frozenset(), NAMES)
SCHEMAS = [
    {
        "provider": "kvm",
        "target": "vcpu",
        "stats": [
            {"name": "guest_mode", "type": "instant", "exponent": 0, "unit": "boolean"},
            {"name": "halt_wait_ns", "type": "cumulative", "exponent": -9, "base": 10, "unit": "seconds"},
            {"name": "halt_wait_hist", "type": "log2-histogram", "exponent": -9, "base": 10, "unit": "seconds"},
            {"name": "exits", "type": "cumulative", "exponent": 0},
        ],
    },
    {
        "provider": "kvm",
        "target": "vm",
        "stats": [
            {"name": "max_mmu_page_hash_collisions", "type": "peak", "exponent": 0},
            {"name": "nx_lpage_splits", "type": "instant", "exponent": 0},
            {"name": "remote_tlb_flush", "type": "cumulative", "exponent": 0},
        ],
    },
]
CPUS = [{"cpu-index": n, "thread-id": 1000 + n, "qom-path": f"/machine/unattached/device[{n}]"} for n in (0, 1)]


def stats(**values: object) -> list[dict[str, object]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def of_vcpu(index: int, **values: object) -> dict[str, object]:
    return {"provider": "kvm", "qom-path": f"/machine/unattached/device[{index}]", "stats": stats(**values)}


def watched(version: str = "10.0.2") -> Story:
    return Story(version=version, dispatch=CHOSEN)


def told() -> Story:
    story = watched()
    story.answers("query-cpus-fast", CPUS)
    story.answers("query-stats-schemas", SCHEMAS)
    return story


def test_nobody_is_asked_for_what_nobody_named():
    assert not {"query-stats", "query-stats-schemas"} & CATALOG.commands


def test_a_qemu_that_would_interrupt_its_vcpus_is_not_asked():
    for version, asked in (("5.2.0", False), ("8.0.5", False), ("8.1.0", True), ("11.1.0", True)):
        assert ("query-stats" in watched(version).wants()) == asked, version


def test_what_is_named_is_asked_of_the_vm_and_of_its_vcpus_with_each_poll():
    queries = [query for query in CHOSEN.queries if query.command == "query-stats"]
    assert [query.every for query in queries] == ["poll", "poll"]
    wanted = [{"provider": "kvm", "names": sorted(NAMES)}]
    assert [json.loads(query.arguments) for query in queries] == [
        {"target": "vm", "providers": wanted},
        {"target": "vcpu", "providers": wanted},
    ]


def test_what_kvm_counted_of_the_vm():
    story = told()
    story.answers("query-stats of vm", [{"provider": "kvm", "stats": stats(remote_tlb_flush=7, nx_lpage_splits=3)}])
    story.says('qemu_kvm_stat_total{stat="remote_tlb_flush"}', 7)
    story.says('qemu_kvm_stat_level{stat="nx_lpage_splits"}', 3)
    story.says_nothing_of("qemu_kvm_vcpu")


def test_what_kvm_counted_of_each_vcpu():
    story = told()
    both = [of_vcpu(0, exits=5, halt_wait_ns=2**53, guest_mode=True), of_vcpu(1, exits=6, guest_mode=False)]
    story.answers("query-stats of vcpu", both)
    story.says('qemu_kvm_vcpu_stat_total{stat="exits",vcpu="0"}', 5)
    story.says('qemu_kvm_vcpu_stat_total{stat="exits",vcpu="1"}', 6)
    story.says('qemu_kvm_vcpu_stat_total{stat="halt_wait_ns",vcpu="0"}', 2**53)
    story.says('qemu_kvm_vcpu_stat_level{stat="guest_mode",vcpu="0"}', 1)
    story.says('qemu_kvm_vcpu_stat_level{stat="guest_mode",vcpu="1"}', 0)
    story.says_nothing_of("qemu_kvm_stat")


def test_the_answer_about_the_vm_takes_nothing_from_its_vcpus():
    story = told()
    story.answers("query-stats of vcpu", [of_vcpu(0, exits=5)])
    story.answers("query-stats of vm", [{"provider": "kvm", "stats": stats(remote_tlb_flush=7)}])
    story.says('qemu_kvm_vcpu_stat_total{stat="exits",vcpu="0"}', 5)


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(of_vcpu(0, halt_wait_hist=[1, 2, 3]), id="a histogram"),
        pytest.param(of_vcpu(0, never_heard_of=1), id="of a type that was not told"),
        pytest.param(of_vcpu(7, exits=1), id="of a vCPU that was not told"),
        pytest.param({"provider": "kvm", "stats": []}, id="nothing"),
    ],
)
def test_what_cannot_be_placed_is_left_out(result):
    story = told()
    story.answers("query-stats of vcpu", [result])
    story.says_nothing_of("qemu_kvm")


def test_what_one_qemu_told_of_vcpus_and_types_says_nothing_of_the_next():
    story = told()
    story.disconnects()
    story.connects()
    story.answers("query-stats of vm", [{"provider": "kvm", "stats": stats(remote_tlb_flush=7)}])
    story.answers("query-stats of vcpu", [of_vcpu(0, exits=5)])
    story.says_nothing_of("qemu_kvm")


@pytest.mark.parametrize("value", [-1, "many", None, {}, 10**400])
def test_a_value_that_is_none_is_refused(value):
    story = told()
    with pytest.raises(BadMessage):
        story.answers("query-stats of vcpu", [of_vcpu(0, exits=value)])
    story.says_nothing_of("qemu_kvm")


def test_without_kvm_there_is_nothing_to_say():
    story = watched()
    story.answers("query-stats-schemas", [])
    story.answers("query-stats of vm", [])
    story.answers("query-stats of vcpu", [])
    story.says_nothing_of("qemu_kvm")
