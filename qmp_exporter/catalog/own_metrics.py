"""What the exporter tells of itself: one row for each of its own metrics, beside those of the VMs."""

from typing import Literal, NamedTuple

# What stands before `process_` in the names of what /proc says of the process that serves HTTP.
WEB_PROCESS = "qmp_exporter_web"


class OwnMetric(NamedTuple):
    """`known`: values of its only label that exist from the start."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


BUILD_INFO = OwnMetric(
    "gauge",
    "qmp_exporter_build_info",
    "Which exporter this is, always 1.",
    ("version", "revision", "python_version", "qemu_qmp_version"),
)
COMMAND_DURATION_SECONDS = OwnMetric(
    "histogram",
    "qmp_exporter_command_duration_seconds",
    "Time from sending a query to its reply.",
    ("command",),
)
COMMAND_ERRORS = OwnMetric(
    "counter",
    "qmp_exporter_command_errors_total",
    "Queries not answered in time (timeout), answered by an error (its class), or whose reply was "
    "overtaken by an event, so that they were asked again (overtaken).",
    ("command", "reason"),
)
BAD_MESSAGES = OwnMetric(
    "counter",
    "qmp_exporter_bad_messages_total",
    "Messages of a monitor that were no QMP or held a number that cannot be true, by what was wrong with them.",
    ("reason",),
    known=("json", "utf8", "depth", "shape", "size", "truncated", "unexpected", "range"),
)
MESSAGES_DROPPED = OwnMetric(
    "counter",
    "qmp_exporter_messages_dropped_total",
    "Messages that were good but could not be used (late: a reply to a query that was given up on; early: "
    "an event of a VM that dialled in, when there was no more room for it until the VM is watched).",
    ("reason",),
    known=("late", "early"),
)
DIAL_IN_REFUSED = OwnMetric(
    "counter",
    "qmp_exporter_dial_in_refused_total",
    "Connections of VMs that dial in that were turned away, by why.",
    ("reason",),
    known=("silent", "failed", "nameless", "name_taken", "twice", "process", "flood", "too_many"),
)
LIBVIRT_CALLS = OwnMetric(
    "gauge",
    "qmp_exporter_libvirt_calls",
    "Queries that libvirt has to answer just now, of 4 at most; more would take libvirt from others where QEMUs hang.",
    ("source",),
)
SERIES_LIMITED = OwnMetric(
    "counter",
    "qmp_exporter_series_limited_total",
    "Samples that found no room: for a new value of a label on their VM, and went to other; or among the series of all "
    "VMs, and are absent.",
)
HTTP_CONNECTIONS = OwnMetric(
    "gauge",
    "qmp_exporter_http_connections",
    "Connections to this exporter, by what they are at: the request is awaited (request), it is being "
    "answered (answer), the next one may come (idle), they were told to close (close).",
    ("phase",),
    known=("request", "answer", "idle", "close"),
)
HTTP_CONNECTIONS_CLOSED = OwnMetric(
    "counter",
    "qmp_exporter_http_connections_closed_total",
    "Connections that the exporter cut off: the time for a phase was over (request, answer, idle, close), "
    "the header of a request was too large (size), the TLS handshake failed (handshake), the place was "
    "needed for a newcomer or the memory for another answer (crowded).",
    ("reason",),
    known=("request", "answer", "idle", "close", "size", "handshake", "crowded"),
)
HTTP_REQUESTS_REFUSED = OwnMetric(
    "counter",
    "qmp_exporter_http_requests_refused_total",
    "Requests refused by the web configuration: no or a wrong password (password), too many passwords of "
    "one address being checked (checks), more requests than rate_limit allows (rate_limit).",
    ("reason",),
    known=("password", "checks", "rate_limit"),
)
WEB_CONFIG_LAST_RELOAD_SUCCESSFUL = OwnMetric(
    "gauge",
    "qmp_exporter_web_config_last_reload_successful",
    "1 if the web configuration and its certificates were valid when they were last read, or there are none.",
)
WEB_PROCESS_RESTARTS = OwnMetric(
    "counter",
    "qmp_exporter_web_process_restarts_total",
    "Times the process that serves HTTP ended, by itself or because it was silent or sent what it never would, and was "
    "started again; another process watches the VMs.",
)
CONFIG_LAST_RELOAD_SUCCESSFUL = OwnMetric(
    "gauge",
    "qmp_exporter_config_last_reload_successful",
    "1 if the configuration was valid when it was last read.",
)
CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP_SECONDS = OwnMetric(
    "gauge",
    "qmp_exporter_config_last_reload_success_timestamp_seconds",
    "When a valid configuration was last read.",
)
TARGET_COLLISIONS = OwnMetric(
    "gauge",
    "qmp_exporter_target_collisions",
    "Targets that are not watched, because another has the same name or the same socket.",
    ("same",),
)
LAST_LOOK_TIMESTAMP_SECONDS = OwnMetric(
    "gauge",
    "qmp_exporter_last_look_timestamp_seconds",
    "When discover or files was last looked through for targets; every 5 seconds, unless a file system hangs.",
    ("source",),
)
SOURCE_UP = OwnMetric(
    "gauge",
    "qmp_exporter_source_up",
    "1 if the exporter listens at the socket of listen, hears libvirt, or could look through discover or "
    "files; 0 if not, and the page and /-/ready tell why.",
    ("source",),
)
TARGETS_REFUSED = OwnMetric(
    "gauge",
    "qmp_exporter_targets_refused",
    "Sockets and files found that give no target: their name is unfit (name), somebody else is the owner "
    "(owner), there is no permission to look at them (denied), the file is wrong and what it said before "
    "holds (mistake), there are too many (many).",
    ("source", "reason"),
)
EVENT_LOOP_LAG_SECONDS = OwnMetric(
    "gauge",
    "qmp_exporter_event_loop_lag_seconds",
    "The longest that the event loop was late in the last 15 seconds.",
)
RENDER_DURATION_SECONDS = OwnMetric(
    "gauge",
    "qmp_exporter_render_duration_seconds",
    "Time it took to make the last page, without its compression.",
)
TARGETS = OwnMetric("gauge", "qmp_exporter_targets", "Targets, by the state of their monitor.", ("state",))

OWN = (
    TARGETS,
    BUILD_INFO,
    COMMAND_DURATION_SECONDS,
    COMMAND_ERRORS,
    BAD_MESSAGES,
    MESSAGES_DROPPED,
    DIAL_IN_REFUSED,
    LIBVIRT_CALLS,
    SERIES_LIMITED,
    HTTP_CONNECTIONS,
    HTTP_CONNECTIONS_CLOSED,
    HTTP_REQUESTS_REFUSED,
    WEB_CONFIG_LAST_RELOAD_SUCCESSFUL,
    WEB_PROCESS_RESTARTS,
    CONFIG_LAST_RELOAD_SUCCESSFUL,
    CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP_SECONDS,
    TARGET_COLLISIONS,
    LAST_LOOK_TIMESTAMP_SECONDS,
    SOURCE_UP,
    TARGETS_REFUSED,
    EVENT_LOOP_LAG_SECONDS,
    RENDER_DURATION_SECONDS,
)
