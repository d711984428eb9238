"""Right and wrong passwords, alone and in floods -> who is let in, and what it costs."""

import asyncio
import base64

import bcrypt
import pytest

from qmp_exporter.webserver.passwords import LINE, REMEMBERED, Passwords, TooManyChecks

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
        assert await passwords.admit(RIGHT, "192.0.2.1")
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
