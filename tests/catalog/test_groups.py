"""Groups of metrics switched off -> the same page without them, and fewer questions."""

from pathlib import Path

import pytest

from play import Story
from qmp_exporter.catalog import ALWAYS, CATALOG, GROUPS, OPTIONAL, without
from qmp_exporter.core.dispatch import Dispatch
from qmp_exporter.core.family import Labels
from qmp_exporter.core.replay import replay

SESSIONS = sorted((Path(__file__).parents[1] / "traces").glob("qemu-*/*.jsonl"))
GROUP_OF = {family.name: group for group, members in GROUPS.items() for family in members.families}
# Of whichever reply; there are fewer of them.
LAST_REPLY = "qemu_monitor_last_reply_timestamp_seconds"

Told = dict[str, dict[Labels, float]]


def told(dispatch: Dispatch, session: Path) -> Told:
    with session.open("rb") as lines:
        samples = replay(dispatch, lines).vm.samples
    families = zip(CATALOG.families, samples.values, strict=True)
    return {family.name: values for family, values in families if values and family.name != LAST_REPLY}


@pytest.fixture(scope="module")
def everything() -> dict[Path, Told]:
    return {session: told(CATALOG, session) for session in SESSIONS}


@pytest.mark.parametrize("group", OPTIONAL)
def test_a_recorded_session_tells_the_same_without_a_group_but_for_that_group(group, everything):
    fewer = without(frozenset({group}))
    for session, all_of_it in everything.items():
        others = {name: values for name, values in all_of_it.items() if GROUP_OF[name] != group}
        assert told(fewer, session) == others, session


def test_every_group_that_can_be_recorded_is_in_some_session(everything):
    """What the recordings do not have cannot be seen to be gone: no process, no armed histogram, no KVM."""
    seen = {GROUP_OF[name] for session in everything.values() for name in session}
    assert set(GROUPS) - seen == {
        *("process", "threads", "cgroup", "network", "guest_memory", "block_latency", "kvm"),
    }


def test_all_groups_off_leave_whether_it_is_there_and_who_it_is():
    least = without(frozenset(OPTIONAL))
    assert least.commands == {"query-commands", "query-status", "query-uuid"}
    assert {family.name for family in least.families if family.sources} == {one.name for one in GROUPS[ALWAYS].families}


@pytest.mark.parametrize(
    ("groups", "commands"),
    [
        ({"block"}, set()),
        ({"block_stats"}, set()),
        ({"block", "block_image", "block_info"}, {"query-block"}),
        (
            {"block", "block_image", "block_info", "block_stats", "block_latency"},
            {"query-block", "query-blockstats"},
        ),
        ({"block_job"}, {"query-block-jobs"}),
        ({"display"}, {"query-vnc-servers", "query-vnc", "query-spice"}),
        ({"vm"}, {"query-name"}),
        ({"process"}, set()),
        ({"threads"}, {"query-iothreads"}),
        (
            {"vm", "process", "threads", "cgroup", "network", "block_info"},
            {"query-name", "query-cpus-fast", "query-iothreads"},
        ),
        ({"guest"}, set()),
        ({"memory"}, {"query-memory-size-summary"}),
        ({"guest_memory"}, {"qom-list", "qom-get"}),
        ({"memory", "guest_memory"}, {"query-balloon", "query-memory-size-summary", "qom-list", "qom-get"}),
        ({"migration"}, {"query-migrate"}),
        ({"device"}, {"query-chardev", "query-pr-managers"}),
    ],
)
def test_a_query_that_feeds_nobody_is_not_on_the_list(groups, commands):
    assert CATALOG.commands - without(frozenset(groups)).commands == commands


def test_vms_that_do_without_the_same_share_it():
    assert without(frozenset({"display", "vm"})) is without(frozenset({"vm", "display"}))
    assert without(frozenset()) is CATALOG


def test_another_vm_in_its_place_begins_anew_even_where_nothing_of_it_is_shown():
    story = Story(dispatch=without(frozenset({"vm"})))
    story.answers("query-uuid", {"UUID": "6a3c1f0e-6d2f-4c53-9f0a-0123456789ab"})
    story.happens("POWERDOWN")
    story.says("qemu_vm_powerdowns_total", 1)
    story.disconnects()
    story.connects()
    story.answers("query-uuid", {"UUID": "11111111-6d2f-4c53-9f0a-0123456789ab"})
    story.says("qemu_vm_powerdowns_total", 0)


def test_a_storage_daemon_has_no_counters_of_a_machine_whatever_is_switched_off():
    story = Story(dispatch=without(frozenset({"vm"})), connected=False)
    story.connects(commands=["query-commands", "query-blockstats"])
    story.says_nothing_of("qemu_vm_powerdowns_total")
