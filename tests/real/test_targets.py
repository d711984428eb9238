"""VMs that come, and a configuration that changes while the exporter runs -> who is watched, what goes on counting."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import provoke
from exporter import Exporter, Vm, client_of, configuration, exporting
from qmp_exporter.demo.machine import Machine
from qmp_exporter.demo.qemu import Qemu
from silent import at

pytestmark = pytest.mark.real

MET_WITHIN = 5.0 + 1.0  # seconds: a look every five, and what QEMU takes from its socket to the first answers
COUNTED = 'qemu_block_io_errors_total{device="drive-virtio1",operation="write",action="report"} 1'


async def test_a_vm_is_met_within_five_seconds_of_its_socket_and_goes_on_counting_when_it_is_back(
    qemu_binary, short_path, figure
):
    (short_path / "qmp").mkdir()
    socket = short_path / "qmp" / "web01.sock"
    clock = asyncio.get_running_loop().time
    async with exporting(short_path, Vm("web01", socket), discover={"glob": f"{short_path}/qmp/*.sock"}) as exporter:
        assert "qemu_up" not in (await exporter.page()).text
        async with Qemu(at(socket), qemu_binary) as qemu:
            booted = clock()
            await exporter.says("qemu_up 1\nqemu_vm_running 1", deadline=MET_WITHIN)
            figure(f"up {clock() - booted:.2f} s after QEMU had been started")
            await provoke.io_error(qemu, "write")
            await exporter.says(COUNTED)
        socket.unlink(missing_ok=True)
        await exporter.says(f'qemu_up 0\nqemu_monitor_state{{state="missing"}} 1\n{COUNTED}')
        async with Qemu(at(socket), qemu_binary):
            await exporter.says(f"qemu_up 1\nqemu_monitor_connects_total 2\n{COUNTED}", deadline=MET_WITHIN)


async def hang_up(exporter: Exporter, _directory: Path) -> None:
    exporter.process.send_signal(signal.SIGHUP)


async def post(_exporter: Exporter, directory: Path) -> None:
    async with client_of(f"unix:{directory}/http.sock") as client, client.post("/-/reload") as answer:
        assert (answer.status, await answer.text()) == (200, "reloaded\n")


async def test_a_vm_that_was_found_is_called_as_qemu_was_told_and_keeps_its_connection(qemu_binary, short_path):
    (short_path / "qmp").mkdir()
    named = {"glob": f"{short_path}/qmp/*.sock", "name_from": "name"}
    socket = short_path / "qmp" / "101.sock"
    async with (
        exporting(short_path, Vm("web01", socket), discover=named) as exporter,
        Qemu(at(socket, name="web01"), qemu_binary) as qemu,
    ):
        await exporter.about(Vm("101", socket)).says("qemu_up 1")
        await provoke.io_error(qemu, "write")
        page = await exporter.says(f"qemu_up 1\nqemu_monitor_connects_total 1\n{COUNTED}", deadline=2 * MET_WITHIN)
        assert 'vm="101"' not in page.text


@pytest.mark.parametrize("reload", [hang_up, post])
async def test_a_reload_keeps_the_connection_and_the_counters_of_what_did_not_change(
    boot, qemu_binary, short_path, reload: Callable[[Exporter, Path], Awaitable[None]]
):
    web01, db01 = await boot(at(short_path / "web01.sock")), short_path / "db01.sock"
    before = Vm("web01", web01.monitor), Vm("db01", db01)
    async with (
        Qemu(at(db01), qemu_binary),
        exporting(short_path, *before, arguments=["--web.enable-lifecycle"]) as exporter,
    ):
        await exporter.says("qemu_up 1")
        await provoke.io_error(web01, "write")
        await exporter.says(COUNTED)
        changed = Vm("db01", db01, {"tenant": "acme"})
        await exporter.about(before[1]).says("qemu_up 1")
        new = configuration(before[0], changed, Vm("new01", short_path / "new01.sock"))
        (short_path / "config.yaml").write_text(new)
        await reload(exporter, short_path)
        await exporter.shows(
            lambda page: () if 'qemu_up{tenant="acme",vm="db01"} 1.0' in page.text else ["no new label"]
        )
        await exporter.about(changed).says("qemu_monitor_connects_total 1")
        page = await exporter.says(f"{COUNTED}\nqemu_up 1\nqemu_monitor_connects_total 1")
        assert 'qemu_monitor_state{state="missing",vm="new01"} 1.0' in page.text
        assert 'qemu_up{vm="db01"}' not in page.text
        assert page["qmp_exporter_config_last_reload_successful"] == 1


async def test_a_bad_file_changes_nothing_and_the_request_is_told_every_mistake(boot, short_path):
    qemu = await boot(Machine())
    async with exporting(
        short_path, Vm("web01", qemu.monitor), arguments=["--web.enable-lifecycle"], complaints=True
    ) as exporter:
        await exporter.says("qemu_up 1")
        (short_path / "config.yaml").write_text("vms:\n  - name: 5\n    sokcet: /a\n")
        async with client_of(f"unix:{short_path}/http.sock") as client, client.post("/-/reload") as answer:
            assert answer.status == 500
            assert (await answer.text()).splitlines()[1:] == [
                f'{short_path}/config.yaml:2:11: vms[0].name: found the number 5, wanted text: write it as "5"',
                f'{short_path}/config.yaml:3:5: vms[0].sokcet: unknown key, did you mean "socket"?',
            ]
        page = await exporter.says("qemu_up 1\nqemu_monitor_connects_total 1")
        assert page["qmp_exporter_config_last_reload_successful"] == 0
