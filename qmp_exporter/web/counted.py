"""What the web server counts -> numbers for the watcher, which has the metrics."""

from collections.abc import Callable

from qmp_exporter.channel.messages import Numbers


class Value:
    """A counter or a gauge."""

    def __init__(self) -> None:
        self._value: Callable[[], float] | float = 0.0

    def inc(self) -> None:
        self._value = self.read() + 1

    def set(self, value: float) -> None:
        self._value = float(value)

    def set_function(self, f: Callable[[], float]) -> None:
        self._value = f

    def read(self) -> float:
        return float(self._value() if callable(self._value) else self._value)


class Values:
    """One for each value of a label."""

    def __init__(self) -> None:
        self._values: dict[str, Value] = {}

    def labels(self, value: str, /) -> Value:
        return self._values.setdefault(value, Value())

    def read(self) -> dict[str, float]:
        return {label: value.read() for label, value in self._values.items()}


class Counted:
    """The attributes are those of `webserver.metrics.Metrics`."""

    def __init__(self) -> None:
        self.web_config_successful = Value()
        self.http_connections = Values()
        self.http_closed = Values()
        self.http_refused = Values()

    def numbers(self) -> Numbers:
        return Numbers(
            self.web_config_successful.read(),
            self.http_connections.read(),
            self.http_closed.read(),
            self.http_refused.read(),
        )
