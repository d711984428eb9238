"""What was found out about one target, in parts that a report can be made of."""

from dataclasses import dataclass

from qmp_exporter.diagnose.probe import ProbeResult

GOOD = frozenset({"good", "watched"})


@dataclass(frozen=True)
class Finding:
    """`verdict`: good, watched (by the exporter, which is good), slow, or one of the values of qemu_monitor_state.

    `problem` is a sentence for a table, too; `seen` is the evidence; `fix` what to do: sentences, and commands, which
    begin with two spaces.  `answer`: what the monitor told, where it told something.
    """

    socket: str
    verdict: str
    problem: str = ""
    seen: tuple[str, ...] = ()
    fix: tuple[str, ...] = ()
    answer: ProbeResult | None = None
    process: str = ""  # behind the monitor

    @property
    def is_good(self) -> bool:
        return self.verdict in GOOD
