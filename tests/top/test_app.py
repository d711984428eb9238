"""`qmp-exporter top` in a terminal of 80 columns and 24 lines, beside a real exporter with simulated VMs."""

import subprocess
import sys

import pytest
from textual.widgets import DataTable, Static

from exporter import Vm, exporting, free_port
from qmp_exporter.simulator import Monitor, SimulatedVm
from qmp_exporter.top.app import Details, Top
from watching import PATIENCE, eventually

TERMINAL = (80, 24)
assert PATIENCE > 5  # seconds: the page of an exporter is a second old, and a terminal asks every two


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_port()}"


def names(app: Top) -> list[str]:
    table = app.query_one(DataTable)
    return [str(table.get_row_at(number)[0]) for number in range(table.row_count)]


def said(app: Top, ident: str) -> str:
    return str(app.query_one(ident, Static).content)


async def test_the_vm_in_trouble_is_first_with_what_to_do_and_opens_with_enter(directory, address):
    a, b = SimulatedVm("a"), SimulatedVm("b")
    async with (
        Monitor(a, directory / "a.sock"),
        Monitor(b, directory / "b.sock"),
        exporting(directory, Vm("a", directory / "a.sock"), Vm("b", directory / "b.sock"), address=address),
    ):
        app = Top(f"http://{address}")
        async with app.run_test(size=TERMINAL) as pilot:
            await eventually(lambda: names(app) == ["a", "b"])
            b.io_error("virtio-disk1", "write", "stop", nospace=True)
            await eventually(lambda: names(app) == ["b", "a"])
            assert "2 VMs, 1 running, 1 in trouble" in said(app, "#head")
            row = [str(cell) for cell in app.query_one(DataTable).get_row("b")]
            assert row[1] == "io-error"
            assert row[-1].startswith("stopped on an I/O error drive-virtio-disk1: nospace")
            await pilot.press("N")
            assert names(app) == ["a", "b"]
            await pilot.press("home", "down", "enter")
            assert isinstance(app.screen, Details)
            assert "CRITICAL stopped on an I/O error" in app.screen._lines
            await pilot.press("escape", "slash", *"b", "enter")
            assert names(app) == ["b"]


async def test_an_exporter_that_is_not_there_is_said(address):
    app = Top(f"http://{address}")
    async with app.run_test(size=TERMINAL):
        await eventually(lambda: "the exporter does not answer" in said(app, "#own"))


def test_without_textual_it_says_what_to_install():
    code = "import sys; sys.modules['textual'] = None; from qmp_exporter.cli import main; main(['top'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'qmp-exporter[top]'" in done.stderr
