"""An address and keys -> the terminal: the VMs of an exporter, asked for every few seconds, with keys like top's."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import aiohttp
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Static

from qmp_exporter.top.rows import COLUMNS, Row, details, head, of_the_exporter, rows

EVERY = 2.0  # seconds
PATIENCE = 5.0
STYLES = ("", "yellow", "bold red")


class Details(ModalScreen[None]):
    """One VM; any of the keys leads back."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q", "dismiss", "Back")]

    def __init__(self, lines: str) -> None:
        super().__init__()
        self._lines = lines

    def compose(self) -> ComposeResult:
        yield VerticalScroll(Static(Text(self._lines)))
        yield Footer()


class Top(App[None]):
    """`address` is that of the exporter, with a user and a password where it wants them."""

    CSS = "#head {height: 1;} #own {color: $error; height: auto; max-height: 3;} #find {display: none; height: 3;}"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("t", "order('trouble')", "Trouble"),
        Binding("P", "order('cpu')", "CPU"),
        Binding("M", "order('memory')", "Memory"),
        Binding("D", "order('disk')", "Disk"),
        Binding("N", "order('name')", "Name"),
        Binding("slash", "find", "Find"),
        Binding("space", "pause", "Pause"),
    ]

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address.rstrip("/")
        self._data: Mapping[str, Any] | None = None
        self._order, self._find = "trouble", ""
        self._is_paused = False
        self._shown: list[str] = []
        self._why = "asking ..."

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        yield Static(id="own")
        yield Input(placeholder="words that all have to be in the line", id="find")
        yield DataTable[Text](cursor_type="row", zebra_stripes=False)
        yield Footer()

    async def on_mount(self) -> None:
        table = self.query_one(DataTable)
        table.cell_padding = 0
        for number, column in enumerate(COLUMNS):
            last = number == len(COLUMNS) - 1
            table.add_column(column.head, width=None if last else column.width + 1, key=column.head)
        table.focus()
        self.run_worker(self._go_on(), exclusive=True)

    async def _go_on(self) -> None:
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                if not self._is_paused:
                    await self._ask(session)
                    self._draw()
                await asyncio.sleep(EVERY)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        try:
            async with session.get(f"{self._address}/api/v1/targets") as answer:
                answer.raise_for_status()
                self._data = (await answer.json())["data"]
                self._why = ""
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            self._why = f"the exporter does not answer: {str(error) or type(error).__name__}"

    def _draw(self) -> None:
        words = head(self._data) if self._data else self._address
        state = "paused" if self._is_paused else time.strftime("%H:%M:%S")
        self.query_one("#head", Static).update(Text(f"{words}  {state}  by {self._order}", style="bold"))
        own = [*([self._why] if self._why else []), *(of_the_exporter(self._data) if self._data else ())]
        self.query_one("#own", Static).update(Text("\n".join(own)))
        if self._data is not None:
            self._fill(rows(self._data, self._order, self._find))

    def _fill(self, shown: list[Row]) -> None:
        """The cursor stays on its VM, and what did not change is left alone."""
        table = self.query_one(DataTable)
        names = [one.vm for one in shown]
        if names != self._shown:
            at = self._shown[table.cursor_row] if table.cursor_row < len(self._shown) else None
            table.clear()
            for one in shown:
                table.add_row(*_cells(one), key=one.vm)
            self._shown = names
            if at in names:
                table.move_cursor(row=names.index(at))
            return
        for one in shown:
            for column, cell in zip(COLUMNS, _cells(one), strict=True):
                if table.get_cell(one.vm, column.head) != cell:
                    table.update_cell(one.vm, column.head, cell)

    # --- keys

    def action_order(self, order: str) -> None:
        self._order = order
        self._draw()

    def action_pause(self) -> None:
        self._is_paused = not self._is_paused
        self._draw()

    def action_find(self) -> None:
        box = self.query_one("#find", Input)
        box.display = True
        box.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._find = event.value
        self._draw()

    def on_input_submitted(self) -> None:
        self.query_one("#find", Input).display = bool(self._find)
        self.query_one(DataTable).focus()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if self._data is None:
            return
        for vm in self._data["targets"]:
            if vm["vm"] == event.row_key.value:
                self.push_screen(Details("\n".join(details(vm, self._data["now"]))))


def _cells(row: Row) -> list[Text]:
    style = STYLES[row.level]
    *short, wrong = row[:-1]
    cells = [Text(text[: column.width], style=style) for text, column in zip(short, COLUMNS, strict=False)]
    return [*cells, Text(wrong, style=style, no_wrap=True)]
