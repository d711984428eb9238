"""What /api/v1/targets tells of a VM: what its page says, and why there is no page."""

import json
from typing import Any

import pytest

from play import Story
from qmp_exporter.catalog import overview, without
from qmp_exporter.core.in_flight import PATIENCE

DISK = {"device": "sda", "io-status": "ok", "inserted": {"node-name": "#block1"}}
CD = {"device": "cd0", "removable": True, "tray_open": True}


def told(story: Story, *, name: str = "web01", labels: dict[str, str] | None = None, reason: str = "") -> Any:
    """-> the element of `targets`, as the one who asks decodes it"""
    monitor = overview.monitor(story.vm, 1.0, reason, None, waits=story.session.waits(story.now), now=story.now)
    target = overview.target(story.vm, name, "/run/qmp/web01.sock", labels or {}, monitor)
    (decoded,) = json.loads(overview.answer("1.2.3", "hv07", story.now, [overview.encode(target)]))["data"]["targets"]
    return decoded


def test_before_a_monitor_is_there_little_is_known():
    assert told(Story(connected=False)) == {
        "vm": "web01",
        "socket": "/run/qmp/web01.sock",
        "up": False,
        "monitor": {"state": "connecting", "since": 1.0},
    }


def test_the_answer_has_the_frame_of_prometheus_own_api():
    body = overview.answer("1.2.3", "hv07", 5.5, [])
    assert json.loads(body) == {
        "status": "success",
        "data": {"version": "1.2.3", "host": "hv07", "now": 5.5, "targets": []},
    }
    assert body.startswith(b'{"status":"success"')


def test_a_vm_in_trouble_is_told_with_its_disk_its_tray_its_screen_and_its_job():
    story = Story()
    story.answers("query-name", {"name": "guest"})
    story.answers("query-uuid", {"UUID": "6a3c1f0e-6d2f-4c53-9f0a-0123456789ab"})
    story.answers("query-block", [DISK | {"io-status": "nospace"}, CD])
    with story.in_one_read():  # all that it brought has the time of its newest message
        story.happens("BLOCK_IO_ERROR", operation="write", action="stop", device="sda", nospace=True)
        story.happens("STOP")
    stopped_at = story.now
    story.answers("query-status", {"status": "io-error", "running": False})
    story.answers("query-vnc-servers", [{"clients": [{"family": "ipv4", "host": "::1", "service": "1"}]}])
    story.answers("query-spice", {"enabled": True, "channels": [{"connection-id": 1, "channel-type": 1}]})
    job = {"type": "mirror", "device": "copy0", "len": 100, "offset": 40, "speed": 7, "status": "paused"}
    story.answers("query-block-jobs", [job])
    story.wants()
    story.refuses("query-name")  # the last answer that the connect waits for
    assert told(story, labels={"tenant": "acme"}) == {
        "vm": "web01",
        "socket": "/run/qmp/web01.sock",
        "up": True,
        "monitor": {"state": "connected", "since": 1.0},
        "labels": {"tenant": "acme"},
        "name": "guest",
        "uuid": "6a3c1f0e-6d2f-4c53-9f0a-0123456789ab",
        "version": "10.0.2",
        "run_state": "io-error",
        "running": False,
        "run_state_since": stopped_at,
        "io_errors": [
            {"device": "sda", "operation": "write", "action": "stop", "count": 1, "last": stopped_at},
        ],
        "nospace_errors": [{"device": "sda", "count": 1}],
        "io_status": [{"device": "sda", "status": "nospace"}],
        "open_trays": ["cd0"],
        "vnc_clients": 1,
        "vnc_sessions": 1,
        "spice_sessions": 1,
        "jobs": [
            {
                "job": "copy0",
                "type": "mirror",
                "status": "paused",
                "offset_bytes": 40,
                "length_bytes": 100,
                "speed_limit_bytes_per_second": 7,
            }
        ],
        "events": told(story)["events"],
    }


def test_events_are_told_newest_first_and_with_what_they_were_about():
    story = Story()
    story.happens("RESET", guest=True, reason="guest-reset")
    reset_at = story.now
    with story.in_one_read():
        for _ in range(3):
            story.happens("BLOCK_IO_ERROR", operation="read", action="report", device="sda")
    assert told(story)["events"][:2] == [
        {
            "event": "BLOCK_IO_ERROR",
            "count": 3,
            "since": story.now,
            "last": story.now,
            "labels": {"device": "sda", "operation": "read", "action": "report"},
        },
        {"event": "RESET", "count": 1, "since": reset_at, "last": reset_at, "labels": {"reason": "guest-reset"}},
    ]


def test_of_a_lost_monitor_what_was_counted_is_told_and_nothing_that_may_have_changed():
    story = Story()
    story.answers("query-block", [DISK, CD])
    story.happens("BLOCK_IO_ERROR", operation="write", action="stop", device="sda")
    story.answers("query-status", {"status": "io-error", "running": False})
    story.disconnects()
    story.cannot_connect("missing")
    target = told(story, reason="no socket there")
    assert target["monitor"] == {"state": "missing", "since": 1.0, "reason": "no socket there"}
    assert target["up"] is False
    assert [error["count"] for error in target["io_errors"]] == [1]
    assert target.keys() == {"vm", "socket", "up", "monitor", "version", "io_errors", "events"}


def test_a_migration_is_told_with_how_far_it_is():
    story = Story()
    ram = {"transferred": 10, "remaining": 30, "total": 40}
    story.answers("query-migrate", {"status": "active", "ram": ram})
    assert told(story)["migration"] == {
        "status": "active",
        "transferred_bytes": 10,
        "remaining_bytes": 30,
        "total_bytes": 40,
    }
    story.answers("query-migrate", {"status": "completed", "ram": ram})
    assert told(story)["migration"] == {"status": "completed"}
    story.answers("query-migrate", {"status": "none"})
    assert "migration" not in told(story)


@pytest.mark.parametrize(("waited", "told_so"), [(PATIENCE - 1, False), (PATIENCE + 1, True)])
def test_a_qemu_that_does_not_answer_is_told_with_the_time_since_when(waited, told_so):
    story = Story()
    story.wants()
    story.asks("query-block")
    asked_at = story.now
    story.now += waited
    monitor = told(story)["monitor"]
    assert monitor.get("unanswered_since") == (asked_at if told_so else None)
    story.replies("query-block", [])
    assert "unanswered_since" not in told(story)["monitor"]


def test_a_qemu_that_is_given_up_on_has_not_answered_since_the_first_query():
    story = Story()
    story.wants()
    story.asks("query-block")
    asked_at = story.now
    for _ in range(10):
        story.now += 30.0
        story.session.scheduler.next(story.now)
    assert told(story)["monitor"]["unanswered_since"] == asked_at


def test_names_are_told_as_the_page_has_them():
    story = Story()
    target = told(story, name="a\x00\ud800b", labels={"owner": "\x07"}, reason="\udc80")
    assert (target["vm"], target["labels"], target["monitor"]["reason"]) == ("a��b", {"owner": "�"}, "�")


def test_what_is_switched_off_is_absent():
    story = Story(dispatch=without(frozenset({"block", "vm", "display", "block_job"})))
    story.happens("BLOCK_IO_ERROR", operation="write", action="stop", device="sda")
    assert told(story).keys() <= {"vm", "socket", "up", "monitor", "events"}
    assert told(story)["events"][0]["event"] == "BLOCK_IO_ERROR"
