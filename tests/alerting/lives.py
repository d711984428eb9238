"""A seed -> hours in the lives of some VMs of a host: what Prometheus scrapes of them, and what our own state says."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from random import Random

from play import Story
from qmp_exporter.catalog import CATALOG
from qmp_exporter.catalog.troubles import OVER_VMS, ROWS_OF_A_VM
from qmp_exporter.core.current_troubles import CurrentTroubles

SCRAPE = 15  # seconds between two
STATES = ("paused", "internal-error", "watchdog", "guest-panicked", "suspended")
Label = tuple[str, str]
Found = tuple[str, tuple[Label, ...]]  # the name of a trouble, and the labels of its alert


class Life:
    """One VM.  What happens to it happens at one moment: the clock of a Story goes on a second with each step."""

    def __init__(self, name: str, rng: Random) -> None:
        self.name = name
        self.story = Story()
        self.troubles = CurrentTroubles(ROWS_OF_A_VM, self.story.vm.values, CATALOG.label_names)
        self._rng = rng
        self._disks = {"sda": "ok", "sdb": "ok"}
        self._failed = 0
        self._is_there = True
        self._settle("running")

    def happens(self) -> None:
        """Something, most often nothing."""
        if not self._is_there:
            return self._comes_back() if self._rng.random() < 0.2 else None
        deeds = (
            self._stops_on_an_error,
            self._errs,
            self._is_resumed,
            self._changes_its_state,
            self._ends,
            self._hangs,
            self._answers,
            self._panics,
            self._fails_silently,
            self._loses_its_port,
            self._starts_again_and_again,
            self._crashes_again_and_again,
            lambda: self.story.happens("WATCHDOG", action="reset"),
            lambda: self.story.happens("BLOCK_IMAGE_CORRUPTED", device="sda", msg="m", fatal=False),
            lambda: self.story.happens(
                "BLOCK_WRITE_THRESHOLD", node_name="n-sda", amount_exceeded=1, write_threshold=1
            ),
            lambda: self.story.happens("QUORUM_REPORT_BAD", type="read", node_name="n", sector_num=0, sectors_count=1),
            lambda: self.story.happens("MEMORY_FAILURE", recipient="guest", action="inject", flags={}),
            lambda: self.story.happens("PR_MANAGER_STATUS_CHANGED", id="pr0", connected=self._rng.random() < 0.5),
            lambda: self.story.happens("MIGRATION", status=self._rng.choice(("active", "failed", "completed"))),
            lambda: self.story.happens(
                "BLOCK_JOB_COMPLETED", type="mirror", device="j", len=1, offset=0, speed=0, error="e"
            ),
        )
        if self._rng.random() < 0.35:
            self._rng.choice(deeds)()
        return None

    def _settle(self, state: str) -> None:
        self.story.answers("query-status", {"status": state, "running": state == "running"})
        self.story.answers("query-block", [self._block(name, status) for name, status in self._disks.items()])
        self.story.answers("query-blockstats", [self._stats(name) for name in self._disks])
        self.story.wants()
        self.story.refuses("query-name")
        assert self.story.page()["qemu_up"] == 1

    def _block(self, name: str, status: str) -> dict:
        inserted = {
            "node-name": f"n-{name}",
            "drv": "raw",
            "ro": False,
            "file": "rbd:pool/x",
            "cache": {"no-flush": self.name == "web02", "direct": True, "writeback": True},
            "image": {"filename": "rbd:pool/x", "format": "raw", "virtual-size": 5},
        }
        return {"device": name, "io-status": status, "inserted": inserted}

    def _stats(self, name: str) -> dict:
        return {"device": name, "node-name": f"n-{name}", "stats": {"failed_rd_operations": self._failed}}

    def _stops_on_an_error(self) -> None:
        disk = self._rng.choice(tuple(self._disks))
        self._disks[disk] = self._rng.choice(("failed", "nospace"))
        self.story.happens("BLOCK_IO_ERROR", operation="write", action="stop", device=disk)
        self.story.happens("STOP")
        self._settle("io-error")

    def _errs(self) -> None:
        self.story.happens("BLOCK_IO_ERROR", operation="read", action="report", device="sda")

    def _is_resumed(self) -> None:
        self._disks = dict.fromkeys(self._disks, "ok")
        self.story.happens("RESUME")
        self._settle("running")

    def _changes_its_state(self) -> None:
        self.story.happens("STOP")
        self._settle(self._rng.choice(STATES))

    def _panics(self) -> None:
        self.story.happens("GUEST_PANICKED", action="pause")
        self._settle("guest-panicked")

    def _fails_silently(self) -> None:
        self._failed += 1
        self.story.answers("query-blockstats", [self._stats(name) for name in self._disks])

    def _loses_its_port(self) -> None:
        self.story.happens("VSERPORT_CHANGE", id="channel0", open=self._rng.random() < 0.5)

    def _ends(self) -> None:
        if self._rng.random() < 0.5:
            self.story.happens("SHUTDOWN", guest=True, reason="guest-shutdown")
        self.story.disconnects()
        self.story.cannot_connect(self._rng.choice(("missing", "refused", "foreign", "denied")))
        self._is_there = False

    def _comes_back(self) -> None:
        self.story.connects()
        self._is_there = True
        self._failed = 0
        self._settle("running")

    def _starts_again_and_again(self) -> None:
        for _ in range(self._rng.choice((1, 6))):
            self.story.happens("RESET", guest=True, reason="guest-reset")

    def _crashes_again_and_again(self) -> None:
        for _ in range(3):
            self.story.disconnects()
            self._comes_back()

    def _hangs(self) -> None:
        self.story.vm.monitor("hung", self.story.now)

    def _answers(self) -> None:
        self.story.answers("query-status", {"status": "running", "running": True})


class Lives:
    """`series` has the value of each at each scrape, `found` what holds by our own state at each whole minute."""

    def __init__(self, seed: int, scrapes: int, vms: int = 4) -> None:
        rng = Random(seed)  # noqa: S311  no secret
        self.scrapes = scrapes
        self.series: dict[str, dict[int, float]] = defaultdict(dict)
        self.found: dict[int, set[Found]] = {}
        self._lives = [Life(f"web{number:02}", rng) for number in range(1, vms + 1)]
        began = max(life.story.now for life in self._lives)
        for number in range(scrapes):
            self._scrape(number, began + number * SCRAPE)

    def _scrape(self, number: int, now: float) -> None:
        for life in self._lives:
            life.story.now = now
            if number % 4 == 2 and number > 8:  # half a minute from each time at which both are asked
                life.happens()
            for sample, value in life.story.page().items():
                name, brace, labels = sample.partition("{")
                self.series[f'{name}{{{labels.rstrip("}")}{"," if brace else ""}vm="{life.name}"}}'][number] = value
            life.troubles.update(now, now)
        if number % 4 == 0:
            self.found[number * SCRAPE] = set(self._look(now))

    def _look(self, now: float) -> Iterator[Found]:
        evidences = {life.name: life.troubles.evidence(now, now) for life in self._lives}
        for vm, evidence in evidences.items():
            for trouble, labels, _ in ROWS_OF_A_VM.found(evidence):
                yield trouble.name, tuple(sorted({**labels, "vm": vm}.items()))
        for trouble, when in OVER_VMS:
            for labels, _ in when.ask(evidences):
                yield trouble.name, tuple(sorted(labels.items()))

    def input_series(self) -> list[dict[str, str]]:
        """As promtool wants them; what a scrape does not have ends, as Prometheus has it."""
        return [{"series": name, "values": " ".join(self._values(values.get))} for name, values in self.series.items()]

    def _values(self, value: Callable[[int], float | None]) -> Iterator[str]:
        was_there = False
        for number in range(self.scrapes):
            known = value(number)
            yield f"{known:g}" if known is not None else "stale" if was_there else "_"
            was_there = known is not None
