"""Samples of all VMs -> the text of a page: kept per family and VM, rendered where they changed, joined when asked.

The text equals what prometheus_client writes for the same samples, in both formats: Prometheus text 0.0.4
(https://prometheus.io/docs/instrumenting/exposition_formats/) and OpenMetrics 1.0.
"""

from collections.abc import Mapping

from .family import Family, Labels, printable
from .samples import Samples


class _Rendered:
    """A VM's own labels, the part of each line before its value, and how its lines are sorted."""

    def __init__(self, families: int, labels: Mapping[str, str]) -> None:
        self.labels = {name: printable(value) for name, value in labels.items()}
        self.starts: list[dict[Labels, str]] = [{} for _ in range(families)]


class Page:
    """`chunks[family][vm]` is laid out as the format wants it: all samples of a family together.

    The cache is a pure function of the samples: no sample is an age, none is read at scrape time.
    """

    def __init__(self, families: tuple[Family, ...]) -> None:
        self._families = families
        self._chunks: list[dict[str, str]] = [{} for _ in families]
        self._vms: dict[str, _Rendered] = {}
        self._headers = [_headers(family) for family in families]
        self.version = 0  # goes up when the text changed, so that a finished page can be served again

    def add(self, vm: str, labels: Mapping[str, str]) -> None:
        """A VM by its name, with the labels that its target has on every sample."""
        self._vms[vm] = _Rendered(len(self._families), {**labels, "vm": vm})

    def forget(self, vm: str) -> None:
        del self._vms[vm]
        for chunks in self._chunks:
            chunks.pop(vm, None)
        self.version += 1

    def refresh(self, vm: str, samples: Samples) -> None:
        """Render the families of a VM that changed since they were rendered last."""
        if not samples.dirty:
            return
        rendered = self._vms[vm]
        for index in samples.dirty:
            family, starts = self._families[index], rendered.starts[index]
            values = samples.values[index]
            lines = []
            for labels, value in values.items():
                start = starts.get(labels)
                if start is None:
                    start = starts[labels] = line_start(family, labels, rendered.labels)
                lines.append(start + number(value))
            if len(starts) > 2 * len(values) + 16:  # jobs come and go: their lines' starts are not kept for ever
                rendered.starts[index] = {labels: starts[labels] for labels in values}
            if lines:
                self._chunks[index][vm] = "\n".join(lines) + "\n"
            else:
                self._chunks[index].pop(vm, None)
        samples.dirty.clear()
        self.version += 1

    def text(self, *, openmetrics: bool = False) -> str:
        """The page of the VMs, without the `# EOF` that ends an OpenMetrics exposition."""
        parts: list[str] = []
        for headers, chunks in zip(self._headers, self._chunks, strict=True):
            if chunks:
                parts.append(headers[openmetrics])
                parts += chunks.values()
        return "".join(parts)


def _headers(family: Family) -> tuple[str, str]:
    """HELP and TYPE in the text format and in OpenMetrics, where a counter's family goes without its suffix."""
    bare = family.name.removesuffix("_total")
    return tuple(  # type: ignore[return-value]  # two names make two headers
        f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n" for name in (family.name, bare)
    )


def line_start(family: Family, labels: Labels, vm_labels: Mapping[str, str]) -> str:
    """`qemu_x_total{device="sda",vm="web01"} `: everything before the value, labels sorted by name."""
    pairs = dict(vm_labels)
    pairs.update(zip((label.name for label in family.labels), labels, strict=True))
    return family.sample_name + "{" + ",".join(f'{name}="{escape(pairs[name])}"' for name in sorted(pairs)) + "} "


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
