"""Where a host's Unix sockets are listed (proc_net(5)): a table for each network namespace that we know."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from qmp_exporter.runtime.namespaces import network_namespace

INIT: Final = 1  # pid
OURS: Final = "/proc/net/unix"
OF_INIT: Final = f"/proc/{INIT}/net/unix"  # the host's, where ours is another: `PrivateNetwork=` in the unit


def unix_tables() -> Iterator[bytes]:
    """A path can be of a socket in any namespace; each table is there once."""
    is_another = network_namespace(INIT) not in {network_namespace("self"), None}
    for path in (OURS, *((OF_INIT,) if is_another else ())):
        with contextlib.suppress(OSError):
            yield Path(path).read_bytes()
