"""The exporter that runs here -> the monitors on which QEMU does not answer it, as its own API tells."""

import http.client
from collections.abc import Iterator

import msgspec
import psutil
from msgspec import Struct

DEADLINE = 2.0  # seconds; a page of 2,000 VMs is there in a tenth of one
MAX_ANSWER = 64 << 20  # bytes


class _Monitor(Struct):
    unanswered_since: float | None = None


class _Target(Struct):
    socket: str
    monitor: _Monitor


class _Data(Struct):
    now: float
    targets: list[_Target]


class _Answer(Struct):
    data: _Data


_decode = msgspec.json.Decoder(_Answer).decode


def unanswered(exporter: int) -> dict[str, float]:
    """The monitors on which QEMU does not answer it, and for how many seconds; `exporter` is its pid.

    Empty where it does not tell us: it tells nobody who would need a password or a certificate for it.
    """
    for host, port in _addresses(exporter):
        connection = http.client.HTTPConnection(host, port, timeout=DEADLINE)
        try:
            connection.request("GET", "/api/v1/targets")
            data = _decode(connection.getresponse().read(MAX_ANSWER)).data
        except (OSError, http.client.HTTPException, msgspec.MsgspecError):
            continue
        finally:
            connection.close()
        return {
            target.socket: data.now - target.monitor.unanswered_since
            for target in data.targets
            if target.monitor.unanswered_since is not None
        }
    return {}


def _addresses(exporter: int) -> Iterator[tuple[str, int]]:
    """Where it listens; one that listens on every address is asked on the loopback."""
    try:
        connections = psutil.Process(exporter).net_connections("tcp")
    except (psutil.Error, OSError):
        return
    for one in connections:
        if one.status == psutil.CONN_LISTEN:
            everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  nothing is bound here
            yield everywhere.get(one.laddr.ip, one.laddr.ip), one.laddr.port
