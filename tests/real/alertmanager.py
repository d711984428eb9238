"""The configuration of deploy/ -> Debian's Alertmanager with it, and the mails that it sends, as a person gets them."""

import asyncio
import contextlib
import email
import email.policy
import shutil
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import NamedTuple

import yaml

from exporter import free_port
from prometheus import DEPLOY, started
from waiting import awaited

BINARY = "prometheus-alertmanager"
SOON = "1s"  # instead of the seconds and minutes in which alerts of one group are gathered
DEADLINE = 60.0  # seconds


class Mail(NamedTuple):
    at: float  # on the clock of the event loop
    to: str
    subject: str
    text: str


class Mailbox:
    """A mail server that takes everything."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []

    async def comes(self, subject: str) -> Mail:
        """-> the first mail with this subject"""

        async def find() -> Mail | None:
            return next((mail for mail in self.mails if mail.subject == subject), None)

        return await awaited(
            find, lambda: f"no mail {subject!r} among {[mail.subject for mail in self.mails]}", DEADLINE
        )

    async def receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """RFC 5321, as far as Alertmanager goes."""
        writer.write(b"220 mailbox\r\n")
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                word = line.split()[0].upper()
                if word == b"DATA":
                    writer.write(b"354 go on\r\n")
                    self._take(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
        writer.close()

    def _take(self, raw: bytes) -> None:
        message = email.message_from_bytes(raw.removesuffix(b".\r\n"), policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        body = message.get_body(("plain",))
        assert body is not None
        now = asyncio.get_running_loop().time()
        self.mails.append(Mail(now, message["To"], message["Subject"], body.get_content().replace("\r\n", "\n")))


@contextlib.asynccontextmanager
async def alerting(directory: Path) -> AsyncIterator[tuple[str, Mailbox]]:
    """-> where Prometheus sends its alerts, and what became of them"""
    mailbox = Mailbox()
    async with await asyncio.start_server(mailbox.receive, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        config = directory / "alertmanager.yml"
        config.write_text(yaml.safe_dump(_deployed(port)))
        shutil.copy(DEPLOY / "alertmanager.tmpl", directory)
        address = f"127.0.0.1:{free_port()}"
        command = (BINARY, f"--config.file={config}", f"--storage.path={directory / 'alertmanager'}")
        alone = "--cluster.listen-address="
        async with started(*command, alone, address=address, log=directory / "alertmanager.log"):
            yield address, mailbox


def _deployed(port: int) -> object:
    config = yaml.safe_load((DEPLOY / "alertmanager.yml").read_text())
    config["global"]["smtp_smarthost"] = f"127.0.0.1:{port}"
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": SOON, "group_interval": SOON}
    return config
