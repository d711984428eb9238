"""/api/v1/targets and the page as a browser gets them: the same numbers as /metrics, the reasons, the policy."""

import asyncio
import base64
import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from qmp_exporter import __version__
from qmp_exporter.alerting.runbook import runbook
from qmp_exporter.catalog.reference import reference
from qmp_exporter.config import Target
from qmp_exporter.daemon.targets.sources import DIAL_IN, Source
from qmp_exporter.daemon.web import api
from qmp_exporter.simulator import Monitor, SimulatedVm
from qmp_exporter.simulator.faults import HangUp
from serving import Serve, Server
from watching import eventually

PATH = "/api/v1/targets"


@pytest.fixture(autouse=True)
def _always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "FRESH", 0.0)


async def data(server: Server) -> Any:
    response, body = await server.ask(PATH)
    assert response.status == 200
    answer = json.loads(body)
    assert answer["status"] == "success"
    return answer["data"]


async def told(server: Server, name: str = "web01") -> Any:
    return next(target for target in (await data(server))["targets"] if target["vm"] == name)


async def tells(server: Server, **members: object) -> Any:
    """Wait until these members of the first monitor are told."""
    async with asyncio.timeout(10):
        while True:
            target = await told(server)
            if members.items() <= target["monitor"].items():
                return target


async def test_it_says_the_same_as_the_metrics(serve: Serve, monitor: Monitor) -> None:
    server = await serve(Target("web01", str(monitor.address)), watch=True)
    await tells(server, state="connected")
    monitor.vm.io_error(monitor.vm.blocks[0].id, "write", "stop", nospace=True)
    monitor.vm.start_job("mirror", length=1 << 20)
    async with asyncio.timeout(10):
        while (target := await told(server)).get("run_state") != "io-error" or "jobs" not in target:
            pass
    _, page = await server.ask("/metrics")
    (error,) = target["io_errors"]
    labels = 'action="stop",device="drive-virtio-disk0",operation="write",vm="web01"'
    assert f"qemu_block_io_errors_total{{{labels}}} {error['count']:.1f}\n" in page.decode()
    since = re.search(r"qemu_vm_state_change_timestamp_seconds{\S* (\S+)", page.decode())
    assert since is not None
    assert float(since[1]) == target["run_state_since"]
    assert {"BLOCK_IO_ERROR", "STOP"} < {event["event"] for event in target["events"]}


async def test_why_a_monitor_is_out_of_reach_is_told_and_when_it_is_tried_again(serve: Serve, directory: Path) -> None:
    server = await serve(Target("web01", str(directory / "nothing.sock")), watch=True)
    target = await tells(server, state="missing", reason="no socket there")
    async with asyncio.timeout(10):
        while "retry_at" not in (target := await told(server))["monitor"]:
            pass
    now = (await data(server))["now"]
    assert now - 5 < target["monitor"]["since"] <= now
    assert target["monitor"]["retry_at"] < now + 60


async def test_how_a_session_ended_is_told_until_the_next_attempt(
    serve: Serve, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qmp_exporter.daemon.monitor.watch.delay", lambda *_args, **_named: 3600.0)
    server = await serve(Target("web01", str(monitor.address)), watch=True)
    up = await tells(server, state="connected")
    assert "reason" not in up["monitor"]
    assert "retry_at" not in up["monitor"]
    monitor.inject(HangUp())
    lost = await tells(server, state="connecting")
    assert lost["monitor"]["reason"].startswith("connection closed without a SHUTDOWN event (")
    assert lost["monitor"]["since"] >= up["monitor"]["since"]
    async with asyncio.timeout(10):
        while "retry_at" not in (await told(server))["monitor"]:
            pass


async def test_an_announced_end_is_told_as_such(serve: Serve, monitor: Monitor) -> None:
    server = await serve(Target("web01", str(monitor.address)), watch=True)
    async with asyncio.timeout(10):
        while not (await told(server))["up"]:
            pass
    monitor.vm.shutdown()
    async with asyncio.timeout(10):
        while not any(event["event"] == "disconnected" for event in (await told(server))["events"]):
            pass
    events = {event["event"]: event.get("labels") for event in (await told(server))["events"]}
    assert events["SHUTDOWN"] == {"reason": "guest-shutdown"}
    assert events["disconnected"] == {"after": "shutdown"}


async def test_a_source_of_vms_that_does_not_work_is_told_with_its_reason(serve: Serve) -> None:
    server = await serve(Target("web01", "/run/nothing.sock"))
    assert "sources_down" not in await data(server)
    server.fleet.cannot_say(Source(DIAL_IN, "listen /run/dial-in.sock"), "there is no group kvm")
    assert (await data(server))["sources_down"] == [
        {"source": "listen /run/dial-in.sock", "reason": "there is no group kvm"}
    ]


async def test_who_can_take_gzip_gets_it(serve: Serve) -> None:
    server = await serve(Target("web01", "/run/nothing.sock"))
    response, packed = await server.ask(PATH, Accept_Encoding="gzip")
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["Content-Type"] == "application/json"
    assert json.loads(gzip.decompress(packed))["data"]["targets"][0]["vm"] == "web01"


async def test_a_fleets_answer_is_whole(serve: Serve) -> None:
    server = await serve(*(Target(f"vm{number}", f"/run/{number}.sock") for number in range(100)))
    _, packed = await server.ask(PATH, Accept_Encoding="gzip")
    targets = json.loads(gzip.decompress(packed))["data"]["targets"]
    assert [target["vm"] for target in targets] == [f"vm{number}" for number in range(100)]


async def test_however_many_ask_it_is_made_once_a_second(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "FRESH", 3600.0)
    server = await serve(Target("web01", "/run/nothing.sock"))
    answers = await asyncio.gather(*(server.ask(PATH) for _ in range(10)))
    assert len({body for _, body in answers}) == 1


async def test_the_page_runs_only_its_own_script_and_style(serve: Serve) -> None:
    response, body = await (await serve(Target("web01", "/run/nothing.sock"))).ask("/")
    policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    for directive, element in (("script-src", "script"), ("style-src", "style")):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", body.decode(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"
    assert re.findall(r"\son\w+=|javascript:|style=|<script \w|https?://", body.decode()) == []


async def test_the_page_links_to_the_metrics_wherever_they_are_and_to_nothing_outside(serve: Serve) -> None:
    server = await serve(Target("web01", "/run/nothing.sock"), path="/qemu")
    response, body = await server.ask("/")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert f"qmp-exporter {__version__}" in body.decode()
    links = set(re.findall(r'href="([^"]*)"', body.decode())) - {"data:,"}
    assert links == {"qemu", "api/v1/targets", "-/reference", "-/healthy", "-/ready"}
    for link in links:
        assert (await server.ask(f"/{link}"))[0].status in {200, 503}


async def test_where_the_metrics_are_at_the_root_there_is_no_page(serve: Serve) -> None:
    response, body = await (await serve(Target("web01", "/run/nothing.sock"), path="/")).ask("/")
    assert response.headers["Content-Type"].startswith("text/plain")
    assert b"qemu_up{" in body


async def test_the_reference_of_the_metrics_is_there_to_be_read(serve: Serve) -> None:
    response, body = await (await serve()).ask("/-/reference")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert body.decode() == reference()


async def test_a_fleet_that_changes_is_told_as_it_is(serve: Serve, directory: Path) -> None:
    async with Monitor(SimulatedVm("web02"), directory / "two.sock") as second:
        server = await serve(
            Target("web01", str(directory / "nothing.sock")), Target("web02", str(second.address)), watch=True
        )
        await eventually(lambda: server.fleet.watches["web02"].vm.monitor_state == "connected")
        assert [
            (target["vm"], target["monitor"]["state"] == "connected") for target in (await data(server))["targets"]
        ] == [
            ("web01", False),
            ("web02", True),
        ]


async def test_the_runbook_of_an_alert_is_there_where_the_alert_says(serve: Serve) -> None:
    server = await serve()
    response, body = await server.ask("/-/runbooks/QEMUVMCrashed")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert body.decode() == runbook("QEMUVMCrashed")
    assert (await server.ask("/-/runbooks/QEMUVMDances"))[0].status == 404
