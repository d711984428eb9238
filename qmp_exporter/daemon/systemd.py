"""What the service manager is told over $NOTIFY_SOCKET (sd_notify(3)): ready, stopping, alive."""

import os
import socket


def notify(*variables: str) -> None:
    """Send variables like "READY=1"; nothing happens where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.connect(address)
            sender.sendall("\n".join(variables).encode())
        except OSError:
            return  # it is gone, and there is nobody else to tell


def watchdog_interval() -> float | None:
    """Seconds within which WATCHDOG=1 is expected, or None."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    meant_for = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdecimal() or meant_for != str(os.getpid()):
        return None
    return int(microseconds) / 1e6
