"""Right and wrong passwords, alone and in floods -> who is let in, and what it costs."""

import asyncio
import base64

import bcrypt
import pytest

from qmp_exporter.webserver.passwords import COMMON, LINE, REMEMBERED, Passwords, TooManyChecks, network_of

HASHED = bcrypt.hashpw(b"secret", bcrypt.gensalt(4))


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


RIGHT = basic("prometheus", "secret")


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The passwords that bcrypt has been asked about."""
    asked: list[bytes] = []
    check = bcrypt.checkpw

    def counted(password: bytes, hashed: bytes) -> bool:
        asked.append(password)
        return check(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    return asked


@pytest.fixture
def passwords() -> Passwords:
    return Passwords({"prometheus": HASHED})


async def test_what_was_right_or_wrong_is_not_checked_again(passwords: Passwords, checks: list[bytes]) -> None:
    wrong = basic("prometheus", "wrong")
    for _ in range(3):
        assert await passwords.admit(RIGHT, "192.0.2.1")
        assert not await passwords.admit(wrong, "192.0.2.1")
    assert checks == [b"secret", b"wrong"]


async def test_a_user_that_there_is_not_costs_as_much_as_one_that_there_is(
    passwords: Passwords, checks: list[bytes]
) -> None:
    assert not await passwords.admit(basic("nobody", "secret"), "")
    assert checks == [b"secret"]


async def test_many_with_the_same_password_at_once_cost_one_check(passwords: Passwords, checks: list[bytes]) -> None:
    asked = [passwords.admit(RIGHT, "192.0.2.1") for _ in range(LINE)]
    assert await asyncio.gather(*asked) == [True] * LINE
    assert checks == [b"secret"]


async def test_guesses_do_not_push_out_what_was_right(passwords: Passwords, checks: list[bytes]) -> None:
    assert await passwords.admit(RIGHT, "192.0.2.1")
    for number in range(REMEMBERED + 10):
        assert not await passwords.admit(basic("prometheus", str(number)), "192.0.2.66")
    checks.clear()
    assert await passwords.admit(RIGHT, "192.0.2.1")
    assert checks == []


async def test_who_guesses_stands_in_line_and_who_comes_from_elsewhere_is_next(
    passwords: Passwords, checks: list[bytes]
) -> None:
    async with asyncio.TaskGroup() as group:
        guesses = [
            group.create_task(passwords.admit(basic("prometheus", str(number)), "192.0.2.66")) for number in range(LINE)
        ]
        await asyncio.sleep(0)
        with pytest.raises(TooManyChecks):
            await passwords.admit(basic("prometheus", "one more"), "192.0.2.66")
        assert await passwords.admit(RIGHT, "198.51.100.1")
        assert len(checks) <= 3
        assert not any([await guess for guess in guesses])
    assert await passwords.admit(RIGHT, "192.0.2.66")


async def test_a_long_password_is_one_to_its_72nd_byte_as_in_go() -> None:
    passwords = Passwords({"prometheus": bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4))})
    assert await passwords.admit(basic("prometheus", "x" * 100), "")
    assert not await passwords.admit(basic("prometheus", "x" * 71), "")


async def test_a_check_does_not_hold_the_event_loop() -> None:
    slow = Passwords({"prometheus": bcrypt.hashpw(b"secret", bcrypt.gensalt(12))})
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        turning = group.create_task(turn())
        assert await slow.admit(RIGHT, "")
        turning.cancel()
    assert turns > 10


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.66", "192.0.2.0/24"),
        ("::ffff:192.0.2.66", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_who_has_many_addresses_of_a_network_has_one_line(address: str, network: str) -> None:
    assert network_of(address) == network


async def test_when_many_networks_guess_those_that_knew_a_password_still_get_their_turn(passwords: Passwords) -> None:
    assert await passwords.admit(RIGHT, "198.51.100.1")
    async with asyncio.TaskGroup() as group:
        guesses = [
            group.create_task(passwords.admit(basic("prometheus", str(number)), f"10.0.{number}.1"))
            for number in range(COMMON)
        ]
        await asyncio.sleep(0)
        with pytest.raises(TooManyChecks):
            await passwords.admit(basic("prometheus", "one more"), "10.1.0.1")
        assert not await passwords.admit(basic("prometheus", "mistyped"), "198.51.100.2")
    assert not any(guess.result() for guess in guesses)


async def test_after_a_wrong_password_the_processor_rests_as_long_as_it_has_worked(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    with monkeypatch.context() as patched:
        patched.setattr("qmp_exporter.webserver.passwords.asyncio.sleep", rest)
        assert await passwords.admit(RIGHT, "")
        assert rests == []
        assert not await passwords.admit(basic("prometheus", "wrong"), "")
    assert len(rests) == 1
    assert rests[0] > 0


async def test_a_user_that_there_is_not_costs_always_the_same_be_the_costs_of_the_others_different(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dear = bcrypt.hashpw(b"secret", bcrypt.gensalt(5))
    asked: dict[bytes, set[bytes]] = {}

    def check(password: bytes, hashed: bytes) -> bool:
        asked.setdefault(password[:6], set()).add(hashed)
        return False

    monkeypatch.setattr(bcrypt, "checkpw", check)
    passwords = Passwords({"prometheus": HASHED, "operator": dear})
    for number in range(40):
        for guess in range(2):
            await passwords.admit(basic(f"nobody{number}", f"{number:06}{guess}"), "")
    assert all(len(hashes) == 1 for hashes in asked.values())
    assert set.union(*asked.values()) == {HASHED, dear}
