"""What a web server tells of itself -> the one who keeps the metrics; the names are those of prometheus_client."""

from collections.abc import Callable
from typing import Protocol


class Counter(Protocol):
    def inc(self) -> None: ...


class Gauge(Protocol):
    def set(self, value: float) -> None: ...

    def set_function(self, f: Callable[[], float]) -> None: ...


class CounterOf(Protocol):
    """A counter with one label."""

    def labels(self, value: str, /) -> Counter: ...


class GaugeOf(Protocol):
    """A gauge with one label."""

    def labels(self, value: str, /) -> Gauge: ...


class Metrics(Protocol):
    """`http_connections` by phase; `http_closed` and `http_refused` by reason."""

    @property
    def web_config_successful(self) -> Gauge: ...

    @property
    def http_connections(self) -> GaugeOf: ...

    @property
    def http_closed(self) -> CounterOf: ...

    @property
    def http_refused(self) -> CounterOf: ...
