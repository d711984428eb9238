"""A fleet that is served -> what its server answers."""

from collections.abc import Awaitable, Callable

import aiohttp

from qmp_exporter.daemon.targets.fleet import Fleet


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


Serve = Callable[..., Awaitable[Server]]
