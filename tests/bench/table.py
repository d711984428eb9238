"""Measured values with their budgets -> tables in Markdown, and their place in the page that shows them."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple


class Number(NamedTuple):
    """Values of repeated runs, with what they may at `most` or must at `least` be."""

    what: str
    values: Sequence[float]
    unit: str = ""
    most: float | None = None
    least: float | None = None

    @property
    def middle(self) -> float:
        return median(self.values)

    @property
    def row(self) -> tuple[str, ...]:
        spread = f"{figure(min(self.values))} to {figure(max(self.values))}" if len(self.values) > 1 else ""
        return self.what, f"{figure(self.middle)} {self.unit}".rstrip(), spread, *self._verdict()

    def _verdict(self) -> tuple[str, str]:
        if self.most is not None:
            return f"≤ {figure(self.most)}", "yes" if self.middle <= self.most else f"**no**, {self._times(self.most)}"
        if self.least is not None:
            met = self.middle >= self.least
            return f"≥ {figure(self.least)}", "yes" if met else f"**no**, {self._times(self.least)}"
        return "", ""

    def _times(self, budget: float) -> str:
        return f"{self.middle / budget:.2f} of it"


def ratio(what: str, one: Number, other: Number) -> Number:
    """How many times the other it is, from the medians."""
    return Number(what, [one.middle / other.middle], "times")


def figure(value: float) -> str:
    """Three digits that matter, or all before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def numbers(rows: Iterable[Number]) -> str:
    return markdown(("", "median", "min to max", "budget", "met"), (number.row for number in rows))


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def csv(header: Sequence[str], rows: Iterable[Sequence[float | None]]) -> str:
    """Plot-ready; what was not measured is left empty."""
    lines = [header, *(["" if value is None else f"{value:.4g}" for value in row] for row in rows)]
    return "```csv\n" + "".join(",".join(line) + "\n" for line in lines) + "```\n"


def percentile(values: Sequence[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def rewrite(page: Path, section: str, text: str) -> None:
    """Put a section's numbers between its two markers."""
    begin, end = f"<!-- {section} -->\n", f"<!-- end of {section} -->"
    old = page.read_text()
    new, found = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}\n{text}\n{end}", old, flags=re.DOTALL)
    assert found == 1, f"{page.name} has no place for {section}"
    page.write_text(new)
