"""A target -> a finding: it is looked at first, and connected to only if that harms nobody."""

import asyncio
from collections.abc import Sequence

from qmp_exporter.config import Target
from qmp_exporter.core.in_flight import PATIENCE
from qmp_exporter.daemon.monitor.link import Unreachable
from qmp_exporter.daemon.monitor.visit_watch import DONE_WITHIN
from qmp_exporter.diagnose.arguments import HMP
from qmp_exporter.diagnose.finding import Finding
from qmp_exporter.diagnose.fixes import second_monitor
from qmp_exporter.diagnose.host import Host
from qmp_exporter.diagnose.preflight import STOPPED, View, called, going_on, held, preflight, silence, stale
from qmp_exporter.diagnose.probe import Probe, ProbeResult
from qmp_exporter.diagnose.protocol_sniff import recognize, shown

AT_ONCE = 16  # targets that are connected to at the same time
DEADLINE = 60.0  # seconds for one target, whatever its monitor does


async def examine_all(targets: Sequence[Target], view: View) -> list[tuple[Target, Finding]]:
    """In the order of the targets."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(target: Target, seen: Finding | None) -> Finding:
        async with slots:
            return seen or await _ask(target, view)

    looked = [preflight(target, view, connecting=True) for target in targets]  # first: it would hold up answers
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(target, seen)) for target, seen in zip(targets, looked, strict=True)]
    return [(target, task.result()) for target, task in zip(targets, tasks, strict=True)]


async def examine(target: Target, view: View) -> Finding:
    """One of them."""
    ((_, finding),) = await examine_all([target], view)
    return finding


async def _ask(target: Target, view: View) -> Finding:
    interview = Probe(target)
    within = DONE_WITHIN if target.visit else DEADLINE  # a manager wants the monitor, too
    try:
        async with asyncio.timeout(within):
            answer = await interview.run()
    except Unreachable as failure:
        return _explained(target, failure, interview.link.protocol.first_words, view)
    except TimeoutError:
        return _slow(target, f"Not done within {within:g} s.", None, view)
    return _judged(target, answer, view)


def _judged(target: Target, answer: ProbeResult, view: View) -> Finding:
    late = [asked.command for asked in answer.asked if asked.error == "timeout"]
    if late:
        return _slow(target, f"{late[0]} was not answered within {PATIENCE:.0f} s.", answer, view)
    if not answer.is_whole:
        return Finding(
            target.socket,
            "error",
            "The session ended while QEMU was asked.",
            (f"{len(answer.asked)} queries were answered before.",),
            ("If the VM was ended or moved just now, nothing is wrong. Else look into QEMU's own log.",),
        )
    process = view.host.process(answer.pid) if answer.pid else None
    return Finding(target.socket, "good", answer=answer, process=str(process or ""))


def _slow(target: Target, what: str, answer: ProbeResult | None, view: View) -> Finding:
    """It greets, and then does not answer."""
    process = view.host.process(answer.pid) if answer and answer.pid else None
    return Finding(
        target.socket,
        "slow",
        "QEMU greets but does not answer: its main loop waits for something, most often for storage.",
        (what, *_silence(view, target)),
        (
            "Look whether the storage of its disks answers, and whether the process waits for it (D):",
            f"  ps -L -o pid,tid,stat,wchan:30,comm -p {process.pid if process else 'PID'}",
            "If only query-block hangs, this keeps the exporter from asking it: `query_block: false`.",
        ),
        answer,
        str(process or ""),
    )


def _silence(view: View, target: Target) -> tuple[str, ...]:
    """What the kernel says of the process that listens, where that explains silence."""
    return tuple(filter(None, (silence(view.host.ends(target.socket).listeners, view.host),)))


def _explained(target: Target, failure: Unreachable, said: bytes, view: View) -> Finding:
    if said:
        return _no_qmp(target, said, view)
    if failure.state == "refused":
        return stale(target, view)
    if failure.state == "busy":
        return _silent(target, str(failure), view)
    if failure.state == "denied":
        return Finding(
            target.socket,
            "denied",
            "The kernel refuses the connection, though the modes along the path allow it.",
            ("So it is a security module: SELinux or AppArmor.",),
            ("Its log tells the rule:", "  journalctl --dmesg --grep 'denied|DENIED' --since -5min"),
        )
    return Finding(target.socket, failure.state, f"No session: {failure}.", _silence(view, target))


def _no_qmp(target: Target, said: bytes, view: View) -> Finding:
    speaker = recognize(said)
    fix = (speaker.fix, *second_monitor(called(target, view))) if speaker.who == HMP else (speaker.fix,)
    return Finding(
        target.socket, "error", f"This is {speaker.who}, not a QMP monitor.", (f'It said "{shown(said)}".',), fix
    )


def _silent(target: Target, why: str, view: View) -> Finding:
    """Connected, and nobody spoke: the one who holds it may have come just now, or it is nothing that speaks first."""
    now = View(Host(), view.user)
    ends = now.host.ends(target.socket)
    if ends.clients or ends.waiting:
        return held(target, ends, now)
    seen = [f"Connected, but {why.partition(':')[0]}.", *_silence(now, target)]
    seen += [f"listening: {process}" for process in ends.listeners]
    stopped = [process for process in ends.listeners if process.is_qemu and process.status in STOPPED]
    if stopped:
        return Finding(target.socket, "busy", "QEMU is stopped by a signal.", tuple(seen), going_on(stopped))
    if ends.listeners and not any(process.is_qemu for process in ends.listeners):
        return Finding(
            target.socket,
            "error",
            "Not QEMU: it waits for the client to speak first.",
            tuple(seen),
            ("Look for a mistake in the address: a web server, an agent, a console wait for words, QMP greets.",),
        )
    return Finding(
        target.socket,
        "busy",
        "No greeting: another client holds the monitor, or QEMU hangs.",
        (*seen, "No client of it is seen on this host; one in a container or on another host may not be."),
        ("Look as root, and give the VM a monitor for the exporter alone:", *second_monitor(called(target, view))[1:]),
    )
