"""The path of a socket -> machines whose monitor connects there, in the words of whichever QEMU it is."""

import re
import subprocess
from pathlib import Path
from typing import Any

from qmp_exporter.demo.machine import Machine

RECONNECT_MS = (9, 2)  # the first version that has it, and says that `reconnect` is deprecated


def dialling(path: Path, binary: str, **parts: Any) -> Machine:
    """A machine that dials in, once a second until it gets through."""
    return Machine(extra=monitor(path, binary), **parts)


def monitor(path: Path, binary: str) -> tuple[str, ...]:
    chardev = f"socket,id=exporter,path={path},server=off,{again(binary)}"
    return "-chardev", chardev, "-mon", "chardev=exporter,mode=control"


def again(binary: str) -> str:
    """-> how this QEMU is told to try once a second"""
    return "reconnect-ms=1000" if version(binary) >= RECONNECT_MS else "reconnect=1"


def version(binary: str) -> tuple[int, ...]:
    """-> major, minor"""
    said = subprocess.run([binary, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    match = re.search(r"version (\d+)\.(\d+)", said)
    assert match is not None
    return int(match[1]), int(match[2])
