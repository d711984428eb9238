"""A fault of a VM -> what its monitor said before it, downloaded and replayed."""

import json
import time
from pathlib import Path

import pytest

from qmp_exporter.catalog import CATALOG
from qmp_exporter.config import Target
from qmp_exporter.core.replay import replay
from qmp_exporter.daemon.web import api
from qmp_exporter.simulator import Monitor, SimulatedVm
from serving import Serve, Server
from watching import eventually

STOPPED = ("qemu_block_io_errors_total", "qemu_vm_state", "qemu_vm_stops_total")


def check(server: Server) -> bool:
    """As the one does who looks for troubles of all VMs."""
    return server.fleet.watches["web01"].check_for_troubles(time.monotonic(), time.time())


async def is_offered(server: Server) -> bool:
    _, body = await server.ask("/api/v1/targets")
    (target,) = json.loads(body)["data"]["targets"]
    return bool(target.get("black_box", False))


async def test_the_messages_before_a_fault_are_downloaded_and_tell_the_same_when_they_are_replayed(
    serve: Serve, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "FRESH", 0.0)
    vm = SimulatedVm("web01")
    async with Monitor(vm, directory / "web01.sock"):
        server = await serve(Target("web01", str(directory / "web01.sock")), watch=True)
        watched = server.fleet.watches["web01"].vm
        await eventually(lambda: watched.values("qemu_vm_state").get(("running",)) == 1)
        check(server)
        response, _ = await server.ask("/api/v1/black-box?vm=web01")
        assert response.status == 404
        assert not await is_offered(server)
        vm.io_error(vm.blocks[0].id, "write", "stop", nospace=True)
        await eventually(lambda: watched.values("qemu_vm_state").get(("io-error",)) == 1)
        assert check(server)
        assert await is_offered(server)
        response, body = await server.ask("/api/v1/black-box?vm=web01")
        assert response.headers["Content-Disposition"] == "attachment; filename=black-box.jsonl"
        assert b"web01" not in body
        assert vm.uuid.encode() not in body
        replayed = replay(CATALOG, body.splitlines()).vm
        assert {name: replayed.values(name) for name in STOPPED} == {name: watched.values(name) for name in STOPPED}


async def test_of_a_vm_that_there_is_not_there_is_nothing(serve: Serve) -> None:
    server = await serve()
    for path in ("/api/v1/black-box", "/api/v1/black-box?vm=web02"):
        response, body = await server.ask(path)
        assert response.status == 404
        assert body.startswith(b"nothing was kept of this VM")
