"""The exporter that runs here -> whether QEMU answers it on a monitor, as its own API tells."""

import http.client
from collections.abc import Iterator

import msgspec
import psutil
from msgspec import Struct

from qmp_exporter.diagnose.host import Process

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


def unanswered(exporter: Process, socket: str) -> str:
    """Since when QEMU has not answered it, in words; empty where it answers, or the exporter does not tell us.

    It tells nobody who would need a password or a certificate for it.
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
        for target in data.targets:
            if target.socket == socket and target.monitor.unanswered_since is not None:
                return f"The exporter has had no answer for {data.now - target.monitor.unanswered_since:.0f} s."
        return ""
    return ""


def _addresses(exporter: Process) -> Iterator[tuple[str, int]]:
    """Where it listens; one that listens on every address is asked on the loopback."""
    try:
        connections = psutil.Process(exporter.pid).net_connections("tcp")
    except (psutil.Error, OSError):
        return
    for one in connections:
        if one.status == psutil.CONN_LISTEN:
            everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  nothing is bound here
            yield everywhere.get(one.laddr.ip, one.laddr.ip), one.laddr.port
