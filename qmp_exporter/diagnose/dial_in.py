"""An entry of `listen` -> whether the exporter listens there, and which QEMUs are connected or should be."""

from collections.abc import Iterator

from qmp_exporter.config import Listener
from qmp_exporter.diagnose.access import barrier, walk
from qmp_exporter.diagnose.arguments import QMP
from qmp_exporter.diagnose.finding import Finding
from qmp_exporter.diagnose.host import Host, Process


def examine_listener(listener: Listener, host: Host) -> Finding:
    """Nothing is connected to: the QEMUs' arguments and the kernel tell enough."""
    dialling = {process: use for process, use in host.users(listener.socket) if not use.listens}
    ends = host.ends(listener.socket)
    connected = {client for client in ends.clients if client}
    seen = [f"connected: {process}" for process in sorted(connected)]
    seen += ["connected: a process that only root may see"] * ends.clients.count(None)
    absent = [process for process in dialling if process.pid not in {client.pid for client in connected}]
    if not ends.listening:
        seen += [f"waits: {process}" for process in absent]
        start = ("Start it, or let it read its configuration again:", "  systemctl reload-or-restart qmp-exporter")
        return Finding(listener.socket, "refused", "The exporter does not listen here.", tuple(seen), start)
    wrong = [f"{process} has {use.purpose} there." for process, use in dialling.items() if use.purpose != QMP]
    if wrong or (absent and None not in ends.clients):
        for process in absent:
            seen += [f"not connected: {process}", *_kept_out(process, listener.socket, host)]
        mend = (
            "A `mode` and a `group` of the entry let QEMU's user connect; the exporter's log says whom it turned away.",
        )
        return Finding(listener.socket, "denied", "Not every QEMU that dials in is let in.", (*wrong, *seen), mend)
    return Finding(listener.socket, "good", f"VMs that have dialled in: {len(ends.clients)}.", tuple(seen))


def _kept_out(process: Process, socket: str, host: Host) -> Iterator[str]:
    user = host.user_of(process)
    closed = barrier(walk(socket).components, user) if user else None
    if closed:
        yield f"{closed}: {process.user} may not {'enter (x)' if closed.is_directory else 'connect (w)'}."
