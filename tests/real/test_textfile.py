"""A real QEMU -> its metrics on the page of Debian's node_exporter."""

import asyncio
import contextlib
import socket
import urllib.request

import pytest

from exporter import Vm, exporting
from parts import need
from qmp_exporter.demo.machine import Machine
from qmp_exporter.demo.qemu import Qemu, dying_with_us
from waiting import awaited

pytestmark = pytest.mark.real


async def test_node_exporter_takes_the_metrics_along(short_path):
    program = need("prometheus-node-exporter")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    textfiles = short_path / "textfiles"
    textfiles.mkdir()
    node = await asyncio.create_subprocess_exec(
        *dying_with_us(),
        *(program, f"--web.listen-address=127.0.0.1:{port}", f"--collector.textfile.directory={textfiles}"),
        stderr=asyncio.subprocess.DEVNULL,
    )

    def scrape() -> str:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            return answer.read().decode()
        return ""

    async def taken() -> str | None:
        page = await asyncio.to_thread(scrape)
        return page if 'qemu_vm_running{vm="web01"} 1' in page else None

    try:
        async with Qemu(Machine()) as qemu:
            arguments = [f"--output.textfile={textfiles}/qemu.prom"]
            async with exporting(short_path, Vm("web01", qemu.monitor), arguments=arguments) as exporter:
                await exporter.says("qemu_up 1")
                page = await awaited(taken, exporter.logged, 40)
        assert "node_textfile_scrape_error 0" in page
        assert "qmp_exporter_build_info{" in page
        assert page.count("\nprocess_cpu_seconds_total ") == 1
    finally:
        node.terminate()
        await node.wait()
