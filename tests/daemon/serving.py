"""A fleet that is served -> what its server answers; both ends of the channel are in this process."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp

from qmp_exporter.channel.connection import connected
from qmp_exporter.channel.messages import MAX_PIECE, MAX_REQUEST, Numbers
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.trouble_watch import TroubleWatch
from qmp_exporter.daemon.web.answers import Answers, Reload
from qmp_exporter.daemon.web.api import JsonOfTargets
from qmp_exporter.daemon.web.conversation import Conversation
from qmp_exporter.daemon.web.exposition import Exposition
from qmp_exporter.web.watcher import Watcher


class Server:
    """A fleet that is served; `get` asks it."""

    def __init__(self, fleet: Fleet, session: aiohttp.ClientSession, url: str) -> None:
        self.fleet = fleet
        self.url = url
        self._session = session

    async def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[aiohttp.ClientResponse, bytes]:
        headers = {"Accept-Encoding": "identity"} | {name.replace("_", "-"): one for name, one in headers.items()}
        async with self._session.request(method, self.url + path, headers=headers) as response:
            return response, await response.read()


def answers_of(fleet: Fleet, stats: Selfstats, reload: Reload | None = None) -> Answers:
    """As the daemon makes them."""
    return Answers(fleet, Exposition(fleet, stats), JsonOfTargets(fleet, TroubleWatch(fleet, stats)), reload)


Serve = Callable[..., Awaitable[Server]]


@contextlib.asynccontextmanager
async def talking(
    answers: Answers, stats: Selfstats, numbers: Callable[[], Numbers] = Numbers
) -> AsyncIterator[Watcher]:
    """What asks for these answers, through a real channel."""
    ours, theirs = socket.socketpair()
    conversation = Conversation(await connected(ours, MAX_REQUEST), answers, stats.told_by_web)
    watcher = Watcher(await connected(theirs, MAX_PIECE), numbers)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(conversation.run()), group.create_task(watcher.run())]
        yield watcher
        for task in tasks:
            task.cancel()
