"""A small VM that lives at random, and the exporter's picture of it: at rest, the page tells what is."""

from collections import Counter
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from play import POLL, Story
from qmp_exporter.core.query_scheduler import RARE, SLOW_INTERVAL

DISKS = ("ide0-0-0", "ide0-1-0")


class Model:
    """As much of a VM as has a state that events only hint at."""

    def __init__(self) -> None:
        self.status = "running"
        self.trays = dict.fromkeys(DISKS, False)
        self.clients: list[tuple[str, bool]] = []  # who is connected to VNC, and whether logged in
        self.channels: Counter[int] = Counter()  # open channels by SPICE connection
        self.events: list[tuple[str, dict]] = []  # not heard yet

    # --- what may happen to it

    def stop(self, number: int) -> None:
        if self.status == "running":
            self.status = ("paused", "io-error", "internal-error", "guest-panicked")[number % 4]
            self.emit("STOP")

    def cont(self, _number: int) -> None:
        if self.status != "running":
            self.status = "running"
            self.emit("RESUME")

    def migrate(self, _number: int) -> None:
        """Says no more than STOP, and not even that if it was stopped."""
        if self.status == "running":
            self.emit("STOP")
        self.status = "postmigrate"

    def reset(self, _number: int) -> None:
        """Closes trays, and turns a stopped VM into one not started, without another word."""
        self.trays = dict.fromkeys(DISKS, False)
        if self.status != "running":
            self.status = "prelaunch"
        self.emit("RESET", guest=False, reason="host-qmp-system-reset")

    def move_tray(self, number: int) -> None:
        disk = DISKS[number % 2]
        self.trays[disk] = not self.trays[disk]
        self.emit("DEVICE_TRAY_MOVED", device="", id=disk, tray_open=self.trays[disk])

    def connect(self, number: int) -> None:
        client = f"4000{number % 3}"  # not always another one, as behind a unix socket
        self.clients.append((client, False))
        self.emit("VNC_CONNECTED", client=peer(client))

    def log_in(self, number: int) -> None:
        waiting = [client for client, logged_in in self.clients if not logged_in]
        if waiting:
            client = waiting[number % len(waiting)]
            self.clients[self.clients.index((client, False))] = (client, True)
            self.emit("VNC_INITIALIZED", client=peer(client))

    def leave(self, number: int) -> None:
        if self.clients:
            client, _ = self.clients.pop(number % len(self.clients))
            self.emit("VNC_DISCONNECTED", client=peer(client))

    def open_channel(self, number: int) -> None:
        self.channels[number % 3 - 1] += 1
        self.emit("SPICE_CONNECTED")
        self.emit("SPICE_INITIALIZED")

    def close_channels(self, number: int) -> None:
        for _ in range(self.channels.pop(number % 3 - 1, 0)):
            self.emit("SPICE_DISCONNECTED")

    def emit(self, name: str, **members: object) -> None:
        self.events.append((name, members))

    # --- what it answers

    def answer(self, command: str) -> object:
        match command:
            case "query-status":
                return {"status": self.status, "running": self.status == "running"}
            case "query-block":
                return [
                    {"device": "", "qdev": disk, "removable": True, "tray_open": open_, "inserted": {"node-name": disk}}
                    for disk, open_ in self.trays.items()
                ]
            case "query-vnc-servers":
                return [{"server": [{}], "clients": [peer(client) for client, _ in self.clients]}]
            case "query-spice":
                return {
                    "enabled": True,
                    "channels": [
                        {"connection-id": connection, "channel-type": kind + 1}
                        for connection, channels in self.channels.items()
                        for kind in range(channels)
                    ],
                }
            case _:
                return AT_REST.get(command, {})


AT_REST = {
    "qom-list": [],
    "query-iothreads": [],
    "query-blockstats": [],
    "query-block-jobs": [],
    "query-vnc": {},
    "query-balloon": {"actual": 2**30},
    "query-memory-size-summary": {"base-memory": 2**30},
    "query-chardev": [],
    "query-pr-managers": [],
    "query-cpus-fast": [],
}


def peer(client: str) -> dict:
    return {"family": "ipv4", "host": "192.0.2.1", "service": client}


class Play:
    """The model and the exporter, and the wire between them on which things take their time."""

    def __init__(self, model: Model | None = None) -> None:
        self.model = model or Model()
        self.story = Story()
        self.answered: tuple[str, object] | None = None  # on its way
        self.settle()

    def act(self, name: str, number: int) -> None:
        getattr(self.model, name)(number)

    def ask(self, _number: int) -> None:
        """The next query is sent, and QEMU makes its answer at once; it may arrive later."""
        if self.answered is None and (query := self.story.session.scheduler.next(self.story.now)):
            self.answered = query.reply, self.model.answer(query.command)

    def hear(self, _number: int) -> None:
        """An event arrives."""
        if self.model.events:
            name, members = self.model.events.pop(0)
            self.story.happens(name, **members)

    def receive(self, _number: int) -> None:
        """The answer arrives, perhaps before events that are older than it, perhaps after some that are newer."""
        if self.answered:
            self.story.replies(*self.answered)
            self.answered = None

    def settle(self) -> None:
        """All that is on its way arrives, and all that is wanted is asked, until nothing is."""
        while self.model.events:
            self.hear(0)
        self.receive(0)
        for _ in range(200):
            self.story.now += 0.1
            self.ask(0)
            if self.answered is None and self.story.session.scheduler.due(self.story.now) > 2:
                return
            self.receive(0)
        raise AssertionError("never at rest")

    def polled_for(self, seconds: float) -> None:
        for _ in range(ceil(seconds / POLL)):
            self.story.now += POLL
            self.settle()


OF_MODEL = ["stop", "cont", "reset", "move_tray", "connect", "log_in", "leave", "open_channel", "close_channels"]
moves = st.lists(
    st.one_of(
        st.tuples(st.just("act"), st.sampled_from(OF_MODEL), st.integers(0, 11)),
        st.tuples(st.sampled_from(["ask", "hear", "receive"]), st.just(0)),
    ),
    max_size=60,
)


def gauges(story: Story) -> dict[str, float]:
    told = ("qemu_vm_state{", "qemu_vm_running", "qemu_block_tray_open", "qemu_vnc_clients", "qemu_spice_")
    return {
        sample: value
        for sample, value in story.page().items()
        if sample.startswith(told) and not sample.split("{")[0].endswith("_total")
    }


def live(play: Play, history: list[tuple]) -> None:
    for method, *arguments in history:
        getattr(play, method)(*arguments)


@given(moves)
def test_at_rest_the_page_is_that_of_a_vm_that_was_asked_at_rest(history):
    play = Play()
    live(play, history)
    play.settle()
    assert gauges(play.story) == gauges(Play(play.model).story)


@given(moves)
def test_what_nobody_announced_is_found_a_run_state_within_a_minute_and_a_client_within_five(history):
    play = Play()
    live(play, history)
    play.model.migrate(0)
    play.model.events.clear()
    found = gauges(Play(play.model).story)
    of_the_vm = {sample for sample in found.items() if sample[0].startswith("qemu_vm_")}
    play.polled_for(SLOW_INTERVAL)
    assert of_the_vm <= gauges(play.story).items()
    play.polled_for(SLOW_INTERVAL * RARE)
    assert gauges(play.story) == found


@given(moves)
def test_sessions_are_the_clients_that_logged_in_where_clients_can_be_told_apart(history):
    play = Play()
    for method, *arguments in history:
        if arguments[0] == "connect" and any(client == f"4000{arguments[1] % 3}" for client, _ in play.model.clients):
            continue  # its port is taken
        getattr(play, method)(*arguments)
    play.settle()
    play.story.says("qemu_vnc_sessions", sum(logged_in for _, logged_in in play.model.clients))


@given(moves)
def test_there_are_never_more_sessions_than_clients_nor_fewer_than_none(history):
    play = Play()
    for move in history:
        live(play, [move])
        page = play.story.page()
        assert 0 <= page["qemu_vnc_sessions"] <= page["qemu_vnc_clients"]


@given(moves)
def test_no_counter_ever_goes_down_and_every_event_is_counted_once(history):
    play = Play()
    heard, before = 0, {}
    for move in history:
        waiting = len(play.model.events)
        live(play, [move])
        heard += move[0] == "hear" and waiting > 0
        counters = {sample: value for sample, value in play.story.page().items() if "_total" in sample}
        assert all(counters[sample] >= value for sample, value in before.items())
        before = counters
    assert sum(value for sample, value in before.items() if sample.startswith("qemu_events_total")) == heard
