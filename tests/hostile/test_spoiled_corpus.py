"""All that four QEMU versions ever said, spoiled in every way -> no exception, no growth, a page that parses.

HOSTILE_MESSAGES=1000000 says how many; the default is what a suite that is run often can bear.
"""

import os
from random import Random

import pytest

from bounds import check_page, check_series, kept, resident
from peer import Peer
from qmp_exporter.catalog import CATALOG
from recorded import SESSIONS, Words, wire
from spoiled import encoded, spoiled

MESSAGES = int(os.environ.get("HOSTILE_MESSAGES", "50000"))
BATCHES = (1, 1, 1, 1, 20)  # messages that are written before the exporter asks its next question
CHECK_EVERY = 5000  # messages between two looks at the page and the memory
KEPT = 256 * 1024  # bytes of anything but samples that a VM may make us keep

WORDS = Words()


class Attack:
    """Batches of messages, good and spoiled, some of them answers to what was asked."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)  # noqa: S311  nothing secret in it
        self.peer = Peer()
        self.peer.greets()
        self.lines = 0

    def message(self) -> bytes:
        rng = self.rng
        if self.peer.asked and rng.random() < 0.6:
            command, identifier = self.peer.asked.pop(rng.randrange(len(self.peer.asked)))
            answer = {**rng.choice(WORDS.answers.get(command, [{"return": {}}])), "id": identifier}
            if rng.random() < 0.05:
                answer["id"] += rng.choice((-1, 1, 10**6))
            return spoiled(answer, rng) if rng.random() < 0.5 else encoded(answer)
        event = rng.choice(WORDS.events)
        return spoiled(event, rng) if rng.random() < 0.7 else encoded(event)

    def batch(self) -> None:
        """Some messages out of order, some twice, cut anywhere into reads; now and then the end of the session."""
        rng = self.rng
        self.peer.turn(seconds=rng.choice((0.1, 1.0, 61.0)))  # the last: whatever was asked is given up on
        messages = [self.message() for _ in range(rng.choice(BATCHES))]
        if rng.random() < 0.1:
            rng.shuffle(messages)
            messages += messages[:3]
        stream = b"".join(message + b"\r\n" for message in messages)
        before = self.peer.taken + self.peer.bad
        start = 0
        while start < len(stream):
            end = start + rng.choice((1, 10, 300, 4000, 100_000))
            self.peer.says(stream[start:end])
            start = end
        lines = sum(1 for line in stream.split(b"\n") if line.rstrip(b"\r"))
        assert self.peer.taken + self.peer.bad - before == lines, "a message was neither taken nor counted as bad"
        self.lines += lines
        if rng.random() < 0.001:
            self.peer.leaves()
            self.peer.greets()

    def check(self) -> None:
        check_page(self.peer.vm)
        check_series(self.peer.vm)
        assert sum(kept(self.peer.vm, self.peer.watch.session).values()) < KEPT, kept(
            self.peer.vm, self.peer.watch.session
        )

    def bad_messages(self) -> dict[str, int]:
        """By reason, as the exporter's own page has them"""
        text = self.peer.stats.text(openmetrics=False).decode()
        return {
            line.split('"')[1]: int(float(line.rsplit(" ", 1)[1]))
            for line in text.splitlines()
            if line.startswith("qmp_exporter_bad_messages_total{")
        }


@pytest.mark.timeout(60 + MESSAGES // 500)
def test_whatever_it_is_told_it_goes_on_and_does_not_grow(figure):
    attack = Attack(seed=1)
    grown_up = 0
    while attack.lines < MESSAGES:
        looked = attack.lines // CHECK_EVERY
        attack.batch()
        if attack.lines // CHECK_EVERY > looked:
            attack.check()
            grown_up = grown_up or (resident() if attack.lines > MESSAGES // 3 else 0)
    growth = resident() - grown_up
    reasons = attack.bad_messages()
    figure(f"{attack.lines} messages, {growth / 2**20:.1f} MiB more than after a third, {reasons}")
    assert sum(reasons.values()) == attack.peer.bad > MESSAGES // 10
    assert {"json", "utf8", "depth", "shape", "unexpected"} <= {reason for reason, count in reasons.items() if count}
    assert growth < 16 * 2**20


@pytest.mark.parametrize("session", SESSIONS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_session_means_the_same_however_it_is_cut(session):
    """Its replies answer nothing that was asked here; its events all count."""
    lines = [GOOD_BYE, *wire(session)[2:]]
    at_once, by_bytes = Peer(), Peer()
    for peer in (at_once, by_bytes):
        peer.greets()
    stream = b"".join(lines)
    at_once.says(stream)
    for at in range(len(stream)):
        by_bytes.hears(stream[at : at + 1])
    assert counted(by_bytes) == counted(at_once)
    assert (by_bytes.taken, by_bytes.bad) == (at_once.taken, at_once.bad)


GOOD_BYE = b'{"event": "SHUTDOWN", "data": {"guest": false, "reason": "host-signal"}}\r\n'


def counted(peer: Peer) -> list[dict]:
    return [
        values for family, values in zip(CATALOG.families, peer.vm.samples.values, strict=True) if family.counts_events
    ]
