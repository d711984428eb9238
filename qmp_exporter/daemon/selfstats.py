"""How the exporter itself is doing -> metrics of prometheus_client, beside those of the VMs."""

import contextlib
import platform
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from qmp_exporter import __version__
from qmp_exporter.catalog import own_metrics as own
from qmp_exporter.catalog.own_metrics import OwnMetric
from qmp_exporter.channel.messages import Numbers
from qmp_exporter.core.family import Labels
from qmp_exporter.revision import revision

# QEMU answers an idle monitor in under a millisecond; seconds mean that its main loop waits for a disk.
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 5.0)
REFUSALS = ("name", "owner", "denied", "mistake", "many")  # why what was found gives no target


class Selfstats:
    """The registry of the exporter's own metrics, one attribute for each that somebody has to feed."""

    def __init__(self) -> None:
        # Start times of counters would come as extra gauges in the text format, and nobody uses them.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's types stop here
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._web_process: int | None = None
        ProcessCollector(own.WEB_PROCESS, lambda: self._web_process or "none", registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        build = self._gauge(own.BUILD_INFO)
        build.labels(__version__, revision(), platform.python_version(), version("qemu.qmp")).set(1)
        self.command_seconds = self._histogram(own.COMMAND_DURATION_SECONDS)
        self.command_errors = self._counter(own.COMMAND_ERRORS)
        self.bad_messages = self._counter(own.BAD_MESSAGES)
        self.dropped = self._counter(own.MESSAGES_DROPPED)
        self.dial_in_refused = self._counter(own.DIAL_IN_REFUSED)
        self.libvirt_calls = self._gauge(own.LIBVIRT_CALLS)
        self.series_limited = self._counter(own.SERIES_LIMITED)
        self.http_connections = self._gauge(own.HTTP_CONNECTIONS)
        self.http_closed = self._counter(own.HTTP_CONNECTIONS_CLOSED)
        self.http_refused = self._counter(own.HTTP_REQUESTS_REFUSED)
        self.web_config_successful = self._gauge(own.WEB_CONFIG_LAST_RELOAD_SUCCESSFUL)
        self.web_process_restarts = self._counter(own.WEB_PROCESS_RESTARTS)
        self._told = Numbers()
        self.reload_successful = self._gauge(own.CONFIG_LAST_RELOAD_SUCCESSFUL)
        self.reload_at = self._gauge(own.CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP_SECONDS)
        self._collisions = self._gauge(own.TARGET_COLLISIONS)
        self.count_collisions(())
        self._last_look = self._gauge(own.LAST_LOOK_TIMESTAMP_SECONDS)
        self._sources = self._gauge(own.SOURCE_UP)
        self._refused = self._gauge(own.TARGETS_REFUSED)
        self.loop_lag = self._gauge(own.EVENT_LOOP_LAG_SECONDS)
        self.render_seconds = self._gauge(own.RENDER_DURATION_SECONDS)

    def _counter(self, row: OwnMetric) -> Counter:
        made = Counter(row.name, row.help, row.labels, registry=self._registry)
        for value in row.known:
            made.labels(value)
        return made

    def _gauge(self, row: OwnMetric) -> Gauge:
        return Gauge(row.name, row.help, row.labels, registry=self._registry)

    def _histogram(self, row: OwnMetric) -> Histogram:
        return Histogram(row.name, row.help, row.labels, buckets=_SECONDS, registry=self._registry)

    def values(self, family: str) -> Mapping[Labels, float]:
        """The samples of a counter or gauge of ours, as those of a VM are told."""
        found = self._registry.restricted_registry([family]).collect()
        return {tuple(one.labels.values()): one.value for metric in found for one in metric.samples}

    def watch_web_process(self, pid: int | None) -> None:
        """Whose /proc is on the page from now on; None: there is none."""
        self._web_process = pid
        self._told = Numbers()  # it counts from nothing
        self._show_connections({})

    def told_by_web(self, numbers: Numbers) -> None:
        """What the web process has counted since it began; ours go on where the one before it ended.

        It faces the network: labels that it cannot have are left out.
        """
        self.web_config_successful.set(numbers.web_config_successful)
        self._show_connections(numbers.connections)
        for counter, row, new, old in (
            (self.http_closed, own.HTTP_CONNECTIONS_CLOSED, numbers.closed, self._told.closed),
            (self.http_refused, own.HTTP_REQUESTS_REFUSED, numbers.refused, self._told.refused),
        ):
            for reason in row.known:
                counter.labels(reason).inc(max(0.0, new.get(reason, 0.0) - old.get(reason, 0.0)))
        self._told = numbers

    def _show_connections(self, numbers: Mapping[str, float]) -> None:
        for phase in own.HTTP_CONNECTIONS.known:
            self.http_connections.labels(phase).set(numbers.get(phase, 0.0))

    def count_targets(self, states: Callable[[], Iterable[str]]) -> None:
        """`states` tells the state of each target's monitor when a page is made."""
        self._registry.register(_Targets(states))

    def count_collisions(self, same: Iterable[str]) -> None:
        """`same`: for each target that is not watched, whether another has its name or its socket."""
        tally = Tally(same)
        for what in ("name", "socket"):
            self._collisions.labels(what).set(tally[what])

    def scanned(self, source: str, at: float, refused: Mapping[str, int]) -> None:
        """A source of targets was looked through; how much of it gives no target, by reason."""
        self._last_look.labels(source).set(at)
        self.refused(source, refused)

    def refused(self, source: str, refused: Mapping[str, int]) -> None:
        """How much of what a source has gives no target, by reason."""
        for reason in REFUSALS:
            self._refused.labels(source, reason).set(refused.get(reason, 0))

    def tell_source(self, source: str, *, works: bool) -> None:
        """Whether a source of targets works."""
        self._sources.labels(source).set(works)

    def forget(self, source: str) -> None:
        """The configuration has this source no more."""
        with contextlib.suppress(KeyError):  # it may not have worked yet, or failed
            self._sources.remove(source)
        with contextlib.suppress(KeyError):  # it may be no libvirt
            self.libvirt_calls.remove(source)
        with contextlib.suppress(KeyError):  # it may never have been looked through
            self._last_look.remove(source)
        with contextlib.suppress(KeyError):  # all of it may have been targets
            for reason in REFUSALS:
                self._refused.remove(source, reason)

    def text(self, *, openmetrics: bool) -> bytes:
        """The exposition of these metrics; in OpenMetrics with the `# EOF` that ends a page."""
        if openmetrics:
            return generate_openmetrics(self._registry)  # type: ignore[no-untyped-call,no-any-return]  # as above
        return generate_latest(self._registry)


class _Targets(Collector):
    def __init__(self, states: Callable[[], Iterable[str]]) -> None:
        self._states = states

    def describe(self) -> Iterable[GaugeMetricFamily]:
        yield GaugeMetricFamily(own.TARGETS.name, own.TARGETS.help, labels=own.TARGETS.labels)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        (family,) = self.describe()
        for state, number in sorted(Tally(self._states()).items()):
            family.add_metric((state,), number)
        yield family
