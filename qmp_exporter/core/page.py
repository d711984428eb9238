"""Samples of all VMs -> the text of a page: kept per family and VM, rendered where they changed, joined when asked.

The text equals what prometheus_client writes for the same samples, in both formats: Prometheus text 0.0.4
(https://prometheus.io/docs/instrumenting/exposition_formats/) and OpenMetrics 1.0.
"""

from collections.abc import Container, Iterator, Mapping
from typing import NamedTuple

from .family import Family, Labels, printable
from .samples import Samples

MAX_STARTS = 16_384  # per family, of all VMs together; jobs and VMs come and go, and what is gone must not stay forever
PART = 256  # VMs whose text is joined at a time, some 100 KiB: what a large family takes is kept by the allocator


class _Starts:
    """What stands before the value in the lines of a family, with a %s for each label that is a VM's own.

    VMs are alike: the same disks, states and reasons.  Shared among them, a line's start costs no memory for each VM,
    and filling it in costs less than looking it up per VM would save.
    """

    def __init__(self, family: Family, own: tuple[str, ...]) -> None:
        self._family = family
        self._own = own
        self._known: dict[Labels, str] = {}

    def of(self, labels: Labels) -> str:
        start = self._known.get(labels)
        if start is None:
            if len(self._known) >= MAX_STARTS:
                self._known.clear()
            start = self._known[labels] = self._write(labels)
        return start

    def _write(self, labels: Labels) -> str:
        """`qemu_x_total{device="sda",vm="%s"} `: labels sorted by name."""
        values = dict.fromkeys(self._own, "%s")
        for label, value in zip(self._family.labels, labels, strict=True):
            values[label.name] = escape(value).replace("%", "%%")
        pairs = ",".join(f'{name}="{values[name]}"' for name in sorted(values))
        return f"{self._family.sample_name}{{{pairs}}} "


class _Vm(NamedTuple):
    names: tuple[str, ...]  # of its own labels
    own: tuple[str, ...]  # the values of its own labels, escaped, in the order of their names
    starts: list[_Starts]  # by family, shared with all VMs whose own labels have the same names


class Page:
    """`chunks[family][vm]` is laid out as the format wants it: all samples of a family together.

    The cache is a pure function of the samples: no sample is an age, none is read at scrape time.
    """

    def __init__(self, families: tuple[Family, ...]) -> None:
        self._families = families
        self._chunks: list[dict[str, bytes]] = [{} for _ in families]
        self._vms: dict[str, _Vm] = {}
        self._starts: dict[tuple[str, ...], list[_Starts]] = {}  # by the names of the own labels of a VM
        self._headers = [_headers(family) for family in families]
        self.version = 0  # goes up when the text changed, so that a finished page can be served again

    def add(self, vm: str, labels: Mapping[str, str]) -> None:
        """A VM by its name, with the labels that its target has on every sample."""
        values = {**labels, "vm": vm}
        names = tuple(sorted(values))
        if names not in self._starts:
            self._starts[names] = [_Starts(family, names) for family in self._families]
        self._vms[vm] = _Vm(names, tuple(escape(printable(values[name])) for name in names), self._starts[names])

    def rename(self, vm: str, name: str, labels: Mapping[str, str], samples: Samples) -> None:
        """The same VM is called `name` from now on."""
        self.forget(vm)
        self.add(name, labels)
        samples.dirty.update(range(len(samples.values)))

    def forget(self, vm: str) -> None:
        names = self._vms.pop(vm).names
        if not any(other.names == names for other in self._vms.values()):
            del self._starts[names]
        for chunks in self._chunks:
            chunks.pop(vm, None)
        self.version += 1

    def refresh(self, vm: str, samples: Samples) -> None:
        """Render the families of a VM that changed since they were rendered last."""
        if not samples.dirty:
            return
        _, own, starts = self._vms[vm]
        for index in samples.dirty:
            start_of = starts[index].of
            lines = [start_of(labels) % own + number(value) for labels, value in samples.values[index].items()]
            if lines:
                self._chunks[index][vm] = ("\n".join(lines) + "\n").encode()
            else:
                self._chunks[index].pop(vm, None)
        samples.dirty.clear()
        self.version += 1

    def parts(self, *, openmetrics: bool = False, families: Container[int] | None = None) -> Iterator[bytes]:
        """The page of the VMs, family by family, without the `# EOF` that ends an OpenMetrics exposition.

        `families`: which of them, by their index; None: all.
        """
        for index, (headers, chunks) in enumerate(zip(self._headers, self._chunks, strict=True)):
            if chunks and (families is None or index in families):
                texts = (headers[openmetrics], *chunks.values())
                for first in range(0, len(texts), PART):
                    yield b"".join(texts[first : first + PART])

    def text(self, *, openmetrics: bool = False) -> str:
        """All of it at once."""
        return b"".join(self.parts(openmetrics=openmetrics)).decode()


def _headers(family: Family) -> tuple[bytes, bytes]:
    """HELP and TYPE in the text format and in OpenMetrics, where a counter's family goes without its suffix."""
    bare = family.name.removesuffix("_total")
    return tuple(  # type: ignore[return-value]  # two names make two headers
        f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n".encode() for name in (family.name, bare)
    )


def escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


_SMALL = {n: f"{float(n)!r}" for n in range(-1, 1001)}  # most samples are states and young counters


def number(value: float) -> str:
    """A value as prometheus_client writes it: Go's spelling, which turns to exponents at a million."""
    known = _SMALL.get(value)  # type: ignore[call-overload]  # 1.0 and 1 are the same key
    if known is not None:
        return str(known)
    text = repr(float(value))
    if text in _SPECIAL:
        return _SPECIAL[text]
    point = text.find(".")
    if value > 0 and point > 6:
        digits = f"{text[0]}.{text[1:point]}{text[point + 1 :]}".rstrip("0.")
        return f"{digits}e+{point - 1:02d}"
    return text


_SPECIAL = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}
