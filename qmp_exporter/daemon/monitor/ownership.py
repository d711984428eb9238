"""A socket and the user who has to own it -> what is wrong with it.

The one who may write into a directory of sockets could else put one of his own there and tell fairy tales of a VM.
"""

import os

from qmp_exporter.daemon.host.process import PeerProcess


def wrong_owner(socket: str, owner: int | None) -> str | None:
    """None if all is well or there is no socket. A link to it has to be root's or of the same owner."""
    if owner is None:
        return None
    try:
        behind, itself = os.stat(socket).st_uid, os.lstat(socket).st_uid  # noqa: PTH116  no Path is needed for it
    except OSError:
        return None
    if behind != owner:
        return f"it belongs to the user {behind}, wanted {owner}"
    if itself not in (owner, 0):
        return f"the link to it belongs to the user {itself}, wanted {owner}"
    return None


def wrong_peer(peer: PeerProcess | None, owner: int | None) -> str | None:
    """The same of who listens there, which is known once we are connected: a file can be replaced after its check.

    Root may listen on behalf of anybody.
    """
    if owner is None or (peer is not None and peer.uid in (owner, 0)):
        return None
    return f"a process of the user {'?' if peer is None else peer.uid} listens there, wanted {owner}"
