"""A name -> control groups of a test's own, which go when it ends."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path


@contextlib.contextmanager
def control_group(path: Path) -> Iterator[Path]:
    """At the end nothing may run in it, nor in those that were made below it."""
    path.mkdir()
    try:
        yield path
    finally:
        for directory in (*sorted(path.rglob("*/"), reverse=True), path):
            if directory.is_dir():
                directory.rmdir()


@contextlib.contextmanager
def systemd_control_groups(name: str) -> Iterator[list[Path]]:
    """Below our own, in each hierarchy by which a systemd knows its processes: version 2, and one of version 1."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(control_group(own / name)) for own in _own_groups()]


def _own_groups() -> Iterable[Path]:
    """Of this process, in each of those hierarchies; one that is mounted twice counts once."""
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    paths = {controllers: path.lstrip("/") for _, controllers, path in lines}
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mounted, kind, options, *_ = line.split()
        if kind == "cgroup2":
            found.setdefault(kind, Path(mounted, paths[""]))
        elif kind == "cgroup" and "name=systemd" in options.split(","):
            found.setdefault(kind, Path(mounted, paths["name=systemd"]))
    return found.values()
