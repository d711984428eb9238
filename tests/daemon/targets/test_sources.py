"""What sources want -> who is watched: precedence, collisions and grace, without a fleet and without a clock."""

import os
from pathlib import Path

from qmp_exporter.config import Target
from qmp_exporter.daemon.targets.sources import DIAL_IN, DISCOVER, FILES, STATIC, Source, Sources

SCAN = Source(DISCOVER, "discover /run/qmp/*.sock")
DIALLED = Source(DIAL_IN, "listen /run/qmp-exporter/dial-in.sock")


def told(*wanted: tuple[Source, Target]) -> Sources:
    """Sources that have one target each, told in this order."""
    sources = Sources()
    for source, target in wanted:
        sources.want(source, [target], 0, 0)
    return sources


def looked_up(sources: Sources) -> Sources:
    """Where their links lead is known."""
    sources.resolved({path: os.path.realpath(path) for path in sources.unresolved})
    return sources


def chosen(sources: Sources) -> set[tuple[str, str]]:
    assert all(name == target.name for name, target in sources.chosen.items())
    return {(target.name, target.socket) for target in sources.chosen.values()}


def left_out(sources: Sources) -> set[tuple[str, str, str]]:
    """Name, socket and why, of each target that is not watched."""
    return {(target.name, target.socket, same) for _, target, same, _ in sources.collisions}


def test_a_name_belongs_to_the_source_of_the_highest_precedence_in_whatever_order_they_tell():
    four = [(DIALLED, Target("web01", "/d")), (SCAN, Target("web01", "/c")), (FILES, Target("web01", "/b"))]
    for wanted in (four, four[::-1]):
        sources = told(*wanted)
        assert chosen(sources) == {("web01", "/b")}
        assert left_out(sources) == {("web01", "/c", "name"), ("web01", "/d", "name")}
        sources.want(STATIC, [Target("web01", "/a")], 0, 0)
        assert chosen(sources) == {("web01", "/a")}


def test_a_socket_has_one_target_for_it_serves_one_client():
    sources = looked_up(told((STATIC, Target("web01", "/a")), (SCAN, Target("a", "//a"))))
    assert chosen(sources) == {("web01", "/a")}
    assert left_out(sources) == {("a", "//a", "socket")}


def test_a_socket_is_the_same_by_whichever_link(directory: Path):
    (directory / "run").mkdir()
    (directory / "var").symlink_to(directory / "run")
    sources = told((STATIC, Target("web01", f"{directory}/var/a")), (SCAN, Target("a", f"{directory}/run/a")))
    assert set(looked_up(sources).chosen) == {"web01"}


def test_a_vm_that_two_sources_tell_of_is_no_collision_and_the_first_says_how_it_is_watched():
    sources = told((SCAN, Target("web01", "/a")), (STATIC, Target("web01", "/a", {"tenant": "acme"})))
    assert left_out(sources) == set()
    assert sources.chosen["web01"].labels == {"tenant": "acme"}


def test_whoever_is_watched_keeps_the_name_against_its_equals():
    sources = told((SCAN, Target("web01", "/b")))
    sources.want(SCAN, [Target("web01", "/a"), Target("web01", "/b")], 0, 0)
    assert chosen(sources) == {("web01", "/b")}
    assert left_out(sources) == {("web01", "/a", "name")}
    sources.want(SCAN, [Target("web01", "/a")], 900, 0)
    assert chosen(sources) == {("web01", "/a")}
    assert left_out(sources) == set()


def test_vms_that_dial_in_share_a_socket_but_no_name():
    socket = "/run/qmp-exporter/dial-in.sock"
    sources = Sources()
    sources.want(DIALLED, [Target("web01", socket), Target("web02", socket)], 900, 0)
    sources.want(DIALLED, [], 900, 0)
    assert set(sources.chosen) == {"web01", "web02"}


def test_what_is_gone_is_watched_for_its_grace():
    sources = told((SCAN, Target("web01", "/a")))
    sources.want(SCAN, [], 900, 100)
    assert sources.due == 1000
    sources.expire(999)
    assert chosen(sources) == {("web01", "/a")}
    sources.expire(1000)
    assert chosen(sources) == set()
    assert sources.due is None


def test_what_comes_back_within_its_grace_stays():
    sources = told((SCAN, Target("web01", "/a")))
    sources.want(SCAN, [], 900, 100)
    sources.want(SCAN, [Target("web01", "/a")], 900, 200)
    sources.expire(5000)
    assert chosen(sources) == {("web01", "/a")}


def test_what_is_gone_yields_its_name_and_its_socket_to_what_is_there():
    sources = Sources()
    sources.want(SCAN, [Target("web01", "/a"), Target("web02", "/b")], 900, 0)
    sources.want(SCAN, [Target("web01", "/a2")], 900, 100)
    sources.want(STATIC, [Target("renamed", "/b")], 0, 100)
    assert chosen(sources) == {("web01", "/a2"), ("renamed", "/b")}
    assert left_out(sources) == set()
    sources.want(STATIC, [], 0, 100)
    assert chosen(sources) == {("web01", "/a2")}


def test_a_source_that_gives_no_grace_takes_back_what_it_gave():
    sources = told((SCAN, Target("web01", "/a")))
    sources.want(SCAN, [], 900, 100)
    sources.want(SCAN, [], 0, 101)
    assert chosen(sources) == set()


def test_what_was_left_out_gets_no_grace():
    sources = told((STATIC, Target("web01", "/a")), (SCAN, Target("web01", "/b")))
    sources.want(SCAN, [], 900, 100)
    sources.want(STATIC, [], 0, 100)
    assert chosen(sources) == set()


def test_where_links_led_is_forgotten_with_the_targets():
    sources = Sources()
    for number in range(50):
        sources.want(SCAN, [Target("web01", f"/run/{number}")], 900, 0)
        looked_up(sources)
    assert len(sources._real) == 1
