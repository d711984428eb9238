"""Who looks at the screen: VNC clients and SPICE sessions, counted and never named."""

from typing import Any

import pytest

from play import Story

ALICE = {"family": "ipv4", "host": "192.0.2.1", "service": "40001", "websocket": False}
BOB = {"family": "ipv4", "host": "192.0.2.2", "service": "40002", "websocket": False}
UNIX = {"family": "unix", "host": "", "service": "", "websocket": False}


def vnc(story: Story, event: str, client: dict) -> None:
    story.happens(f"VNC_{event}", server={"host": "127.0.0.1", "service": "5900"}, client=client)


def logs_in(story: Story, client: dict) -> None:
    vnc(story, "CONNECTED", client)
    vnc(story, "INITIALIZED", client)


def says(story: Story, *, clients: int, sessions: int) -> None:
    story.says("qemu_vnc_clients", clients)
    story.says("qemu_vnc_sessions", sessions)


def servers(*clients: dict) -> list[dict]:
    return [{"id": "default", "auth": "none", "server": [{"service": "5900"}], "clients": list(clients)}]


def nobody_yet() -> Story:
    story = Story()
    story.answers("query-vnc-servers", servers())
    return story


# --- VNC


def test_who_was_there_before_any_event_only_the_query_tells():
    story = Story()
    vnc(story, "CONNECTED", ALICE)
    story.says_nothing_of("qemu_vnc_clients")
    story.says_nothing_of("qemu_vnc_sessions")
    story.answers("query-vnc-servers", servers(ALICE, BOB))
    says(story, clients=2, sessions=1)


def test_a_client_that_logs_in_is_a_session_until_it_leaves():
    story = nobody_yet()
    vnc(story, "CONNECTED", ALICE)
    says(story, clients=1, sessions=0)
    vnc(story, "INITIALIZED", ALICE)
    says(story, clients=1, sessions=1)
    vnc(story, "DISCONNECTED", ALICE)
    says(story, clients=0, sessions=0)
    for counter in ("connections", "initializations", "disconnections"):
        story.says(f"qemu_vnc_{counter}_total", 1)


def test_a_wrong_password_is_a_connection_without_an_initialization():
    story = nobody_yet()
    vnc(story, "CONNECTED", ALICE)
    vnc(story, "DISCONNECTED", ALICE)
    says(story, clients=0, sessions=0)
    story.says("qemu_vnc_connections_total", 1)
    story.says("qemu_vnc_initializations_total", 0)
    story.says("qemu_vnc_disconnections_total", 1)


def test_one_who_never_logs_in_is_a_client_and_no_session_in_the_query_too():
    story = Story()
    logs_in(story, ALICE)
    vnc(story, "CONNECTED", BOB)
    story.answers("query-vnc-servers", servers(ALICE, BOB))
    says(story, clients=2, sessions=1)
    vnc(story, "DISCONNECTED", ALICE)
    says(story, clients=1, sessions=0)


def test_two_clients_behind_a_unix_socket_cannot_be_told_apart_and_are_two():
    story = nobody_yet()
    logs_in(story, UNIX)
    logs_in(story, UNIX)
    says(story, clients=2, sessions=2)
    story.answers("query-vnc-servers", servers(UNIX, UNIX))
    says(story, clients=2, sessions=2)
    vnc(story, "DISCONNECTED", UNIX)
    says(story, clients=1, sessions=1)


def test_behind_a_unix_socket_the_one_that_had_not_logged_in_is_taken_to_leave():
    story = nobody_yet()
    logs_in(story, UNIX)
    vnc(story, "CONNECTED", UNIX)
    says(story, clients=2, sessions=1)
    vnc(story, "DISCONNECTED", UNIX)
    says(story, clients=1, sessions=1)


def test_clients_of_all_servers_are_counted_together():
    story = Story()
    story.answers(
        "query-vnc-servers",
        [{"id": "tcp", "clients": [ALICE, BOB]}, {"id": "unix", "clients": [UNIX]}, {"id": "idle", "clients": []}],
    )
    says(story, clients=3, sessions=3)


def test_a_client_that_was_there_before_us_counts_as_logged_in():
    story = Story()
    story.answers("query-vnc-servers", servers(ALICE))
    says(story, clients=1, sessions=1)


def test_the_query_finds_those_whose_events_we_missed():
    story = Story()
    logs_in(story, ALICE)
    story.answers("query-vnc-servers", servers(BOB))
    says(story, clients=1, sessions=1)
    story.answers("query-vnc-servers", servers())
    says(story, clients=0, sessions=0)


def test_one_who_left_unseen_without_logging_in_is_not_taken_off_the_sessions():
    story = Story()
    vnc(story, "CONNECTED", ALICE)
    story.answers("query-vnc-servers", servers())
    says(story, clients=0, sessions=0)
    story.answers("query-vnc-servers", servers(ALICE))
    says(story, clients=1, sessions=1)


def test_a_client_that_leaves_twice_is_not_missing_once():
    story = nobody_yet()
    vnc(story, "DISCONNECTED", ALICE)
    says(story, clients=0, sessions=0)
    vnc(story, "INITIALIZED", BOB)
    says(story, clients=1, sessions=1)


def test_after_each_vnc_event_the_servers_are_asked():
    for event in ("CONNECTED", "INITIALIZED", "DISCONNECTED"):
        story = Story()
        story.wants()
        vnc(story, event, ALICE)
        assert "query-vnc-servers" in story.wants()


def test_before_2_3_there_is_only_query_vnc():
    story = Story(connected=False)
    story.connects("2.2.0", commands=["query-vnc"])
    assert story.wants() == {"query-vnc"}
    story.answers("query-vnc", {"enabled": True, "clients": [ALICE]})
    says(story, clients=1, sessions=1)
    vnc(story, "DISCONNECTED", ALICE)
    assert story.wants() == {"query-vnc"}


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("query-vnc-servers", []),
        ("query-vnc-servers", [{"id": "default", "auth": "none", "server": [], "clients": []}]),
        ("query-vnc", {"enabled": False}),
    ],
    ids=["none", "without a socket", "off"],
)
def test_where_qemu_serves_no_vnc_nothing_is_said_of_clients(command: str, reply: Any):
    story = Story()
    logs_in(story, ALICE)
    story.answers(command, reply)
    story.says_nothing_of("qemu_vnc_clients")
    story.says_nothing_of("qemu_vnc_sessions")
    story.says("qemu_vnc_connections_total", 1)


def test_clients_of_the_last_connection_are_forgotten():
    story = Story()
    vnc(story, "CONNECTED", ALICE)
    story.disconnects()
    story.connects()
    story.answers("query-vnc-servers", servers(ALICE))
    says(story, clients=1, sessions=1)


def test_counters_of_vnc_and_spice_stand_at_zero():
    story = Story()
    for protocol in ("vnc", "spice"):
        for counter in ("connections", "initializations", "disconnections"):
            story.says(f"qemu_{protocol}_{counter}_total", 0)


def test_no_address_is_on_the_page():
    story = Story()
    logs_in(story, ALICE)
    story.answers("query-vnc-servers", servers(ALICE))
    spice(story, channel(1, 1))
    assert "192.0.2" not in "".join(story.page())


# --- SPICE


def channel(connection: int, kind: int) -> dict:
    return {
        "connection-id": connection,
        "channel-type": kind,
        "channel-id": 0,
        "tls": False,
        "host": "192.0.2.1",
        "port": "40003",
        "family": "ipv4",
    }


def spice(story: Story, *channels: dict) -> None:
    story.answers("query-spice", {"enabled": True, "migrated": False, "mouse-mode": "server", "channels": [*channels]})


def test_a_session_has_several_channels():
    story = Story()
    spice(story, channel(7, 1), channel(7, 2), channel(7, 3), channel(7, 4))
    story.says("qemu_spice_sessions", 1)
    story.says("qemu_spice_channels", 4)


def test_a_connection_id_may_be_negative():
    story = Story()
    spice(story, channel(-1987654321, 1), channel(-1987654321, 2), channel(5, 1))
    story.says("qemu_spice_sessions", 2)


def test_channels_without_a_main_channel_are_no_session():
    story = Story()
    spice(story, channel(7, 2), channel(7, 3))
    story.says("qemu_spice_sessions", 0)
    story.says("qemu_spice_channels", 2)


def test_where_spice_is_off_nothing_is_said_of_sessions():
    story = Story()
    story.answers("query-spice", {"enabled": False, "migrated": False, "mouse-mode": "client"})
    story.says_nothing_of("qemu_spice_sessions")
    story.says_nothing_of("qemu_spice_channels")


def test_a_second_client_throws_the_first_one_out():
    story = Story()
    spice(story, channel(1, 1), channel(1, 2))
    story.happens("SPICE_CONNECTED", server={}, client={})  # before the first one's DISCONNECTED
    story.happens("SPICE_DISCONNECTED", server={}, client={})
    story.happens("SPICE_DISCONNECTED", server={}, client={})
    story.happens("SPICE_INITIALIZED", server={}, client=channel(2, 1))
    assert "query-spice" in story.wants()
    spice(story, channel(2, 1))
    story.says("qemu_spice_sessions", 1)
    story.says("qemu_spice_connections_total", 1)
    story.says("qemu_spice_initializations_total", 1)
    story.says("qemu_spice_disconnections_total", 2)
