"""The service manager: what it is told (sd_notify(3)), and the sockets that it passes (sd_listen_fds(3))."""

import os
import socket
from itertools import zip_longest

FIRST_PASSED = 3  # descriptor; after stdin, stdout and stderr


class ActivationError(ValueError):
    """What was passed is not what was meant to be."""


def passes_sockets() -> bool:
    """Whether any were passed to this process."""
    return os.environ.get("LISTEN_PID", "") == str(os.getpid())


def inherited() -> list[socket.socket]:
    """The listening sockets that were passed to this process.

    :raise ActivationError: there are none, or something else is among them.
    """
    pid, number, names = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not number.isdecimal() or int(number) == 0:
        raise ActivationError("no sockets were passed: wanted to be started by a .socket unit")
    descriptors = range(FIRST_PASSED, FIRST_PASSED + int(number))
    return [_listening(descriptor, name) for descriptor, name in zip_longest(descriptors, names.split(":"))]


def _listening(descriptor: int, name: str | None) -> socket.socket:
    found = f"descriptor {descriptor} ({name or 'without a name'})"
    try:
        passed = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ActivationError(f"{found} is no socket: {error.strerror}") from error
    if passed.type != socket.SOCK_STREAM or not passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        passed.detach()  # it is not ours
        raise ActivationError(f"{found} is no listening stream: wanted ListenStream= and Accept=no in the .socket unit")
    passed.set_inheritable(False)
    passed.setblocking(False)  # noqa: FBT003  as above
    return passed


def notify(*variables: str) -> bool:
    """Send variables like "READY=1"; nothing happens where nobody listens.

    False: the one who listens has no room for it now.  It must not hold us.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return True
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
        try:
            sender.connect(address)
            lines = (" ".join(variable.splitlines()) for variable in variables)  # words of a peer may be in one
            sender.sendall("\n".join(lines).encode(errors="replace"))
        except BlockingIOError:
            return False
        except OSError:
            return True  # it is gone, and there is nobody else to tell
    return True


def watchdog_interval() -> float | None:
    """Seconds within which WATCHDOG=1 is expected, or None."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    meant_for = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdecimal() or meant_for != str(os.getpid()):
        return None
    return int(microseconds) / 1e6
