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
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        build = Gauge(
            "qmp_exporter_build_info",
            "Which exporter this is, always 1.",
            ("version", "revision", "python_version", "qemu_qmp_version"),
            registry=registry,
        )
        build.labels(__version__, revision(), platform.python_version(), version("qemu.qmp")).set(1)
        self.command_seconds = Histogram(
            "qmp_exporter_command_duration_seconds",
            "Time from sending a query to its reply.",
            ("command",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.command_errors = Counter(
            "qmp_exporter_command_errors_total",
            "Queries not answered in time (timeout), answered by an error (its class), or whose reply was overtaken by "
            "an event, so that they were asked again (overtaken).",
            ("command", "reason"),
            registry=registry,
        )
        self.bad_messages = Counter(
            "qmp_exporter_bad_messages_total",
            "Messages of a monitor that were no QMP or held a number that cannot be true, by what was wrong with them.",
            ("reason",),
            registry=registry,
        )
        for reason in ("json", "utf8", "depth", "shape", "size", "truncated", "unexpected", "range"):
            self.bad_messages.labels(reason)
        self.dropped = Counter(
            "qmp_exporter_messages_dropped_total",
            "Messages that were good but could not be used (late: a reply to a query that was given up on; early: an "
            "event of a VM that dialled in, when there was no more room for it until the VM is watched).",
            ("reason",),
            registry=registry,
        )
        for reason in ("late", "early"):
            self.dropped.labels(reason)
        self.dial_in_refused = Counter(
            "qmp_exporter_dial_in_refused_total",
            "Connections of VMs that dial in that were turned away, by why.",
            ("reason",),
            registry=registry,
        )
        for reason in ("silent", "failed", "nameless", "name_taken", "twice", "flood", "too_many"):
            self.dial_in_refused.labels(reason)
        self.series_limited = Counter(
            "qmp_exporter_series_limited_total",
            "Samples that found no room for a new value of a label on their VM and went to other.",
            registry=registry,
        )
        self.http_connections = Gauge(
            "qmp_exporter_http_connections",
            "Connections to this exporter, by what they are at: the request is awaited (request), it is being answered "
            "(answer), the next one may come (idle), they were told to close (close).",
            ("phase",),
            registry=registry,
        )
        self.http_closed = Counter(
            "qmp_exporter_http_connections_closed_total",
            "Connections that the exporter cut off: the time for a phase was over (request, answer, idle, close), the "
            "header of a request was too large (size), the TLS handshake failed (handshake), the place was needed for "
            "a newcomer or the memory for another answer (crowded).",
            ("reason",),
            registry=registry,
        )
        for reason in ("request", "answer", "idle", "close", "size", "handshake", "crowded"):
            self.http_closed.labels(reason)
        self.http_refused = Counter(
            "qmp_exporter_http_requests_refused_total",
            "Requests refused by the web configuration: no or a wrong password (password), too many passwords of one "
            "address being checked (checks), more requests than rate_limit allows (rate_limit).",
            ("reason",),
            registry=registry,
        )
        for reason in ("password", "checks", "rate_limit"):
            self.http_refused.labels(reason)
        self.web_config_successful = Gauge(
            "qmp_exporter_web_config_last_reload_successful",
            "1 if the web configuration and its certificates were valid when they were last read, or there are none.",
            registry=registry,
        )
        self.reload_successful = Gauge(
            "qmp_exporter_config_last_reload_successful",
            "1 if the configuration was valid when it was last read.",
            registry=registry,
        )
        self.reload_at = Gauge(
            "qmp_exporter_config_last_reload_success_timestamp_seconds",
            "When a valid configuration was last read.",
            registry=registry,
        )
        self._collisions = Gauge(
            "qmp_exporter_target_collisions",
            "Targets that are not watched, because another has the same name or the same socket.",
            ("same",),
            registry=registry,
        )
        self.count_collisions(())
        self._last_look = Gauge(
            "qmp_exporter_last_look_timestamp_seconds",
            "When discover or files was last looked through for targets; every 5 seconds, unless a file system hangs.",
            ("source",),
            registry=registry,
        )
        self._sources = Gauge(
            "qmp_exporter_source_up",
            "1 if the exporter listens at the socket of listen, or could look through discover or files; 0 if not, and "
            "the page and /-/ready tell why.",
            ("source",),
            registry=registry,
        )
        self._refused = Gauge(
            "qmp_exporter_targets_refused",
            "Sockets and files found that give no target: their name is unfit (name), somebody else is the owner "
            "(owner), there is no permission to look at them (denied), the file is wrong and what it said before holds "
            "(mistake), there are too many (many).",
            ("source", "reason"),
            registry=registry,
        )
        self.loop_lag = Gauge(
            "qmp_exporter_event_loop_lag_seconds",
            "The longest that the event loop was late in the last 15 seconds.",
            registry=registry,
        )
        self.render_seconds = Gauge(
            "qmp_exporter_render_duration_seconds",
            "Time it took to make the last page, without its compression.",
            registry=registry,
        )

    def count_targets(self, states: Callable[[], Iterable[str]]) -> None:
        """`states` tells the state of each target's monitor when a page is made."""
        self._registry.register(_Targets(states))

    def count_collisions(self, same: Iterable[str]) -> None:
        """`same`: for each target that is not watched, whether another has its name or its socket."""
        tally = Tally(same)
        for what in ("name", "socket"):
            self._collisions.labels(what).set(tally[what])

    def looked(self, source: str, at: float, refused: Mapping[str, int]) -> None:
        """A source of targets was looked through; how much of it gives no target, by reason."""
        self._last_look.labels(source).set(at)
        for reason in REFUSALS:
            self._refused.labels(source, reason).set(refused.get(reason, 0))

    def tell_source(self, source: str, *, works: bool) -> None:
        """Whether a source of targets works."""
        self._sources.labels(source).set(works)

    def forget(self, source: str) -> None:
        """The configuration has this source no more."""
        with contextlib.suppress(KeyError):  # it may not have worked yet, or failed
            self._sources.remove(source)
        with contextlib.suppress(KeyError):  # it may never have been looked through
            self._last_look.remove(source)
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

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily("qmp_exporter_targets", "Targets, by the state of their monitor.", labels=("state",))
        for state, number in sorted(Tally(self._states()).items()):
            family.add_metric((state,), number)
        yield family
