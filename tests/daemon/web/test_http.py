"""The pages as a scraper and a person get them."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from qmp_exporter import __version__
from qmp_exporter.catalog import GROUPS
from qmp_exporter.config import Target
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.sources import DIAL_IN, FILES, Source
from qmp_exporter.revision import revision
from qmp_exporter.runtime import cooperative
from qmp_exporter.simulator import Monitor, SimulatedVm
from serving import Serve
from watching import eventually

PROMETHEUS_ACCEPT = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


TARGET = Target("web01", "/run/nothing.sock", {"tenant": 'ac"me\\\n'})


async def test_metrics_come_as_text_unless_openmetrics_is_preferred(serve: Serve) -> None:
    server = await serve(TARGET)
    response, _ = await server.ask("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    response, _ = await server.ask("/metrics", Accept=PROMETHEUS_ACCEPT)
    assert response.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    response, _ = await server.ask("/metrics", Accept="application/openmetrics-text;version=9.9.9")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_both_formats_parse_to_the_same_samples(serve: Serve) -> None:
    server = await serve(TARGET)
    _, text = await server.ask("/metrics")
    _, openmetrics = await server.ask("/metrics", Accept=PROMETHEUS_ACCEPT)
    assert openmetrics.endswith(b"# EOF\n")
    assert openmetrics.count(b"# EOF") == 1

    def of_vms(families):
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
            if sample.name.startswith("qemu_")
        }

    seen = of_vms(parse_text(text.decode()))
    assert seen == of_vms(parse_openmetrics(openmetrics.decode()))
    assert seen["qemu_up", (("tenant", 'ac"me\\\n'), ("vm", "web01"))] == 0


async def test_a_scraper_that_can_gets_gzip(serve: Serve) -> None:
    server = await serve(TARGET)
    response, body = await server.ask("/metrics", Accept_Encoding="gzip")
    assert response.headers["Content-Encoding"] == "gzip"
    assert b'qemu_up{tenant="ac\\"me\\\\\\n",vm="web01"} 0.0\n' in gzip.decompress(body)
    response, body = await server.ask("/metrics", Accept_Encoding="gzip;q=0")
    assert "Content-Encoding" not in response.headers
    assert b"qemu_up{" in body


async def test_the_exporters_own_metrics_are_beside_those_of_the_vms(serve: Serve) -> None:
    _, body = await (await serve(TARGET)).ask("/metrics")
    for name in (
        f'revision="{revision()}",version="{__version__}"}} 1.0\n'.encode(),
        b"process_resident_memory_bytes ",
        b"python_info{",
    ):
        assert name in body
    assert b'qmp_exporter_targets{state="connecting"} 1.0' in body


async def test_head_tells_the_same_without_the_body(serve: Serve) -> None:
    response, body = await (await serve(TARGET)).ask("/metrics", method="HEAD")
    assert response.status == 200
    assert int(response.headers["Content-Length"]) > 1000
    assert body == b""


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_nothing_but_get_and_head_is_allowed(serve: Serve, path: str, method: str) -> None:
    response, _ = await (await serve(TARGET)).ask(path, method=method)
    assert response.status == 405
    assert response.headers["Allow"] == "GET,HEAD"


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/metrics/../etc/passwd", "/-/reloads", "//metrics"])
async def test_nothing_else_is_found(serve: Serve, path: str) -> None:
    response, _ = await (await serve(TARGET)).ask(path)
    assert response.status == 404


async def test_it_is_healthy_at_once_and_ready_when_every_target_was_tried(serve: Serve, directory: Path) -> None:
    idle = await serve(TARGET)
    assert (await idle.ask("/-/healthy"))[0].status == 200
    assert (await idle.ask("/-/ready"))[0].status == 503
    server = await serve(Target("web01", str(directory / "nothing.sock")), watch=True)
    await eventually(lambda: server.fleet.ready)
    assert (await server.ask("/-/ready"))[0].status == 200


async def test_it_is_not_ready_while_a_source_of_vms_does_not_work_and_says_which_and_why(serve: Serve) -> None:
    server = await serve()
    listening = Source(DIAL_IN, "listen /run/qmp-exporter/dial-in.sock")
    assert (await server.ask("/-/ready"))[0].status == 200
    server.fleet.cannot_say(listening, "there is no group kvm")
    server.fleet.cannot_say(FILES, "/etc/targets.d: Permission denied")
    response, body = await server.ask("/-/ready")
    assert response.status == 503
    assert body.decode().splitlines() == [
        "files: /etc/targets.d: Permission denied",
        "listen /run/qmp-exporter/dial-in.sock: there is no group kvm",
    ]
    assert (await server.ask("/-/healthy"))[0].status == 200
    for source in (listening, FILES):
        server.fleet.works(source)
    assert (await server.ask("/-/ready"))[0].status == 200


async def test_a_vm_that_lives_is_on_the_page(serve: Serve, monitor: Monitor) -> None:
    server = await serve(Target("web01", str(monitor.address)), watch=True)
    await eventually(lambda: list(server.fleet.states()) == ["connected"])
    monitor.vm.change_rtc(7)

    async def says(sample: bytes) -> bool:
        return sample in (await server.ask("/metrics"))[1]

    async with asyncio.timeout(5):
        while not await says(b'qemu_rtc_offset_seconds{vm="web01"} 7.0\n'):
            pass


@pytest.fixture
async def many(directory: Path) -> AsyncIterator[list[Monitor]]:
    monitors = [Monitor(SimulatedVm(f"vm{n}"), directory / f"vm{n}.sock") for n in range(30)]
    for monitor in monitors:
        monitor.listen()
    yield monitors
    for monitor in monitors:
        monitor.close()


def families(page: bytes) -> set[str]:
    return {line.split()[2] for line in page.decode().splitlines() if line.startswith("# TYPE ")}


async def test_groups_can_be_asked_for_or_left_out(serve: Serve) -> None:
    server = await serve(TARGET)
    _, everything = await server.ask("/metrics")
    _, only = await server.ask("/metrics?collect[]=monitor")
    _, own = await server.ask("/metrics?collect%5B%5D=exporter")
    _, both = await server.ask("/metrics?collect[]=monitor&collect[]=exporter")
    _, rest = await server.ask("/metrics?exclude[]=monitor")
    assert "qemu_up" in families(only)
    assert all(family.startswith("qemu_") for family in families(only))
    assert "qmp_exporter_build_info" in families(own)
    assert families(both) == families(only) | families(own)
    assert families(everything) == families(only) | families(rest)
    assert not families(only) & families(rest)


async def test_a_part_of_the_page_is_well_formed_in_each_form(serve: Serve) -> None:
    server = await serve(TARGET)
    for groups in ("monitor", "exporter"):
        _, text = await server.ask(f"/metrics?collect[]={groups}", Accept="application/openmetrics-text;version=1.0.0")
        assert text.endswith(b"# EOF\n")
        assert families(text)
        _, packed = await server.ask(f"/metrics?collect[]={groups}", Accept_Encoding="gzip")
        _, plain = await server.ask(f"/metrics?collect[]={groups}")
        assert families(gzip.decompress(packed)) == families(plain)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("collect[]=nonsense", b"unknown group nonsense; wanted one of monitor, vm, "),
        ("exclude[]=nonsense", b"unknown group nonsense"),
        ("collect[]=vm&exclude[]=block", b"exclude each other"),
    ],
)
async def test_what_is_no_group_is_a_bad_request(serve: Serve, query: str, said: bytes) -> None:
    response, body = await (await serve(TARGET)).ask(f"/metrics?{query}")
    assert response.status == 400
    assert said in body


async def test_many_different_parts_are_not_all_kept(serve: Serve) -> None:
    server = await serve(TARGET)
    for group in GROUPS:
        await server.ask(f"/metrics?collect[]={group}", Accept_Encoding="gzip")
    _, packed = await server.ask("/metrics?collect[]=monitor", Accept_Encoding="gzip")
    assert "qemu_up" in families(gzip.decompress(packed))


async def test_a_large_page_is_whole(serve: Serve, many: list[Monitor], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made in many turns of the event loop, between which the VMs go on."""
    monkeypatch.setattr(cooperative, "LONGEST", 0.0)
    server = await serve(*(Target(monitor.vm.name, str(monitor.address)) for monitor in many), watch=True)
    up = [f'qemu_up{{vm="{monitor.vm.name}"}} 1.0\n'.encode() for monitor in many]

    async def page() -> bytes:
        return gzip.decompress((await server.ask("/metrics", Accept_Encoding="gzip"))[1])

    body = b""
    async with asyncio.timeout(10):
        while not all(line in body for line in up):
            body = await page()
    pages = await asyncio.gather(*(page() for _ in range(5)))
    assert all(line in body for body in pages for line in up)


async def test_all_who_ask_while_a_page_is_made_share_the_next_one(
    serve: Serve, many: list[Monitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cooperative, "LONGEST", 0.0)
    made = 0
    render = Fleet.refresh

    async def counted(fleet: Fleet) -> None:
        nonlocal made
        made += 1
        await render(fleet)

    monkeypatch.setattr(Fleet, "refresh", counted)
    server = await serve(*(Target(monitor.vm.name, str(monitor.address)) for monitor in many), watch=True)
    pages = await asyncio.gather(*(server.ask("/metrics") for _ in range(50)))
    assert all(response.status == 200 for response, _ in pages)
    assert made <= 10


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_whoever_may_reload_is_told_every_error(serve: Serve, method: str) -> None:
    answers: list[tuple[str, ...]] = [(), ("config.yaml:1:1: wrong", "config.yaml:2:1: wrong too")]

    async def reload() -> tuple[str, ...]:
        return answers.pop(0)

    server = await serve(TARGET, reload=reload)
    response, _ = await server.ask("/-/reload", method=method)
    assert response.status == 200
    response, body = await server.ask("/-/reload", method=method)
    assert response.status == 500
    assert body.endswith(b"\nconfig.yaml:1:1: wrong\nconfig.yaml:2:1: wrong too\n")


async def test_nobody_may_reload_unless_it_is_enabled(serve: Serve) -> None:
    response, body = await (await serve(TARGET)).ask("/-/reload", method="POST")
    assert response.status == 403
    assert body == b"wanted --web.enable-lifecycle\n"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 200),
    ],
)
async def test_a_page_of_another_site_reloads_nothing(serve: Serve, headers: dict[str, str], status: int) -> None:
    reloads = 0

    async def reload() -> tuple[str, ...]:
        nonlocal reloads
        reloads += 1
        return ()

    server = await serve(TARGET, reload=reload)
    named = {name.replace("-", "_"): value for name, value in headers.items()}
    response, _ = await server.ask("/-/reload", method="POST", **named)
    assert (response.status, reloads) == (status, int(status == 200))


async def test_a_look_at_the_address_reloads_nothing(serve: Serve) -> None:
    response, _ = await (await serve(TARGET)).ask("/-/reload")
    assert response.status == 405
