"""The root of a Debian -> that Debian booted by its own systemd, in which commands are run; gone without a trace after.

with booted(root_of("bookworm"), packages) as machine:
    machine.run("systemctl", "is-system-running")
"""

import contextlib
import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cgroups import systemd_control_groups
from parts import missing, need

ROOTS = Path(__file__).parents[2] / ".live"
BOOTED_WITHIN = 90.0  # seconds
SERVICE = "qmp-exporter.service"
# Two machines in one control group would have the same groups for their services: that of one does not start if the
# other one removes its group in that moment.
IN_GROUPS = ("sh", "-euc", 'until [ "$1" = -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"', "sh")


class Machine:
    """`enter`: what stands before a command that is to be run inside."""

    def __init__(self, leader: int) -> None:
        self.enter = ["nsenter", f"--target={leader}", "--all", "env", "-i"]
        self.enter += ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"]

    def try_to(self, *command: str | Path) -> tuple[int, str]:
        """-> exit status and what it said"""
        done = subprocess.run(
            [*self.enter, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def run(self, *command: str | Path) -> str:
        """-> what it said; it must succeed"""
        status, said = self.try_to(*command)
        if status != 0:  # systemctl says no more than that a service failed; why stands in the journal
            _, journal = self.try_to("journalctl", "--no-pager", "--lines=40")
            raise AssertionError(f"{' '.join(map(str, command))}: exit status {status}\n{said}\n{journal}")
        return said

    def write(self, path: str, text: str) -> None:
        self.run("sh", "-c", 'mkdir -p "${1%/*}" && printf %s "$2" > "$1"', "sh", path, text)

    def state(self, *properties: str) -> list[str]:
        """-> what systemd says of the service"""
        said = self.run("systemctl", "show", "--property", ",".join(properties), SERVICE)
        values = dict(line.split("=", 1) for line in said.splitlines())
        return [values[name] for name in properties]

    def journal(self, *options: str) -> str:
        """-> the lines of the service and about it"""
        return self.run("journalctl", "--no-pager", "--quiet", "--output=cat", f"--unit={SERVICE}", *options)

    def complaints(self) -> str:
        """-> what the service itself said that is worse than a notice"""
        return self.journal("--priority=warning", "--identifier=qmp-exporter")

    def page(self, path: str = "/metrics") -> str:
        """-> a page of the exporter"""
        return self.run(*self.asking(path))

    @staticmethod
    def asking(path: str) -> tuple[str, ...]:
        """-> the command that gets a page with nothing but the Python that is there"""
        program = (  # packed, as Prometheus asks for it: the page of a fleet is 30 MB
            "import gzip, sys, urllib.request as u;"
            "answer = u.urlopen(u.Request(sys.argv[1], headers={'Accept-Encoding': 'gzip'}), timeout=20);"
            "unpack = gzip.decompress if answer.headers['Content-Encoding'] else bytes;"
            "print(unpack(answer.read()).decode(), end='')"
        )
        return ("python3", "-c", program, f"http://127.0.0.1:10065{path}")


def root_of(release: str) -> Path:
    root = ROOTS / release
    if not root.is_dir():
        missing(f"no {root.relative_to(ROOTS.parent)}; `make test`, as root, makes it")
    return root


@contextlib.contextmanager
def booted(root: Path, shown: Path, *, volatile: bool = True) -> Iterator[Machine]:
    """`shown` is a directory that is /mnt inside, to read.  `volatile`: what the machine writes goes to memory."""
    nspawn = need("systemd-nspawn")
    options = (
        *("--quiet", "--boot", "--notify-ready=yes", "--console=read-only", "--register=no", "--keep-unit"),
        *("--private-network", f"--machine=live-{os.getpid()}", "--kill-signal=SIGKILL"),
        f"--volatile={'overlay' if volatile else 'no'}",
    )
    with tempfile.TemporaryDirectory(prefix="live-") as name, systemd_control_groups(Path(name).name) as groups:
        directory = Path(name)
        console = directory / "console.log"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news, console.open("wb") as log:
            news.bind(f"{directory}/notify")
            news.settimeout(BOOTED_WITHIN)
            container = subprocess.Popen(
                [*IN_GROUPS, *groups, "--", nspawn, *options, f"--directory={root}", f"--bind-ro={shown}:/mnt"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": f"{directory}/notify"},
            )
            try:
                leader = _leader(news)
            except BaseException as error:
                error.add_note(console.read_text(errors="replace"))
                _end(container)
                raise
        # The socket is closed by now: with more news than it holds, systemd-nspawn would wait for a reader forever.
        try:
            machine = Machine(leader)
            machine.run("systemctl", "is-system-running", "--wait")
            yield machine
        finally:
            _end(container)


def _end(container: "subprocess.Popen[bytes]") -> None:
    container.terminate()  # by which it kills the first process inside, and with that one all others
    container.wait()


def _leader(news: socket.socket) -> int:
    """-> the first process of the container, once it has said that it is up"""
    leader = 0
    while True:
        words = news.recv(4096).decode()
        if found := re.search(r"^X_NSPAWN_LEADER_PID=(\d+)$", words, re.MULTILINE):
            leader = int(found[1])
        if leader and re.search(r"^READY=1$", words, re.MULTILINE):
            return leader
