"""The walls between the parts, and what must agree with the catalog: held here, and shown to fall when breached."""

import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qmp_exporter.catalog import CATALOG
from qmp_exporter.catalog.reference import reference
from qmp_exporter.core.family import LIFECYCLE
from qmp_exporter.core.query_scheduler import QUERY_COMMANDS
from qmp_exporter.daemon.selfstats import Selfstats

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "qmp_exporter"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Part of the package -> the parts that it may import.  cli.py and __main__.py may import all.
OURS = {
    "core": {"core"},
    "catalog": {"catalog", "core"},
    "documents": {"documents"},
    "runtime": {"runtime"},
    "channel": {"channel"},
    "webserver": {"webserver", "documents", "runtime"},
    "web": {"web", "channel", "alerting", "catalog", "core", "documents", "runtime", "webserver"},
    "alerting": {"alerting", "catalog", "core", "documents"},
    "config": {"config", "documents"},
    "daemon": {"daemon", "channel", "alerting", "catalog", "config", "core", "documents", "runtime", "webserver"},
    "simulator": {"simulator"},
    "top": {"top", "core"},
    "demo": {"demo", "simulator"},
    "diagnose": {"diagnose", "daemon", "catalog", "config", "core", "documents", "runtime"},
}
# Room of the daemon -> the rooms that it may import; run.py joins them, what else is outside of them knows none.
ROOMS = {
    "host": {"host"},
    "monitor": {"monitor", "host"},
    "libvirt": {"libvirt", "monitor", "host"},
    "targets": {"targets", "libvirt", "monitor", "host"},
    "web": {"web", "targets", "monitor"},
}
# Values in, values out: what is not here (asyncio, socket, os, time, random, logging, pathlib ...) is not for the pure.
PURE = {
    "array",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "itertools",
    "operator",
    "math",
    "msgspec",
    "re",
    "struct",
    "types",
    "typing",
}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "compile", "breakpoint", "__import__"}
# A library of somebody else's -> the only places that know it.
OWNERS = {
    "qemu": ("daemon/monitor/link.py",),
    "yaml": ("documents/",),
    "pydantic": ("config/", "documents/", "alerting/settings.py", "webserver/web_config.py"),
    "prometheus_client": ("daemon/selfstats.py",),
    "aiohttp": ("web/", "webserver/", "top/app.py"),
    "textual": ("top/app.py",),
    "structlog": ("daemon/", "log.py", "runtime/", "web/", "webserver/"),
    "bcrypt": ("webserver/passwords.py",),
    "msgspec": ("core/", "catalog/", "channel/", "daemon/libvirt/domain_link.py", "diagnose/watching.py"),
    "hypothesis": (),
    "pytest": (),
}


def imported(path: str, tree: ast.Module) -> Iterator[str]:
    """The modules that a file of the package imports, wherever it does so, with their full names."""
    here = ["qmp_exporter", *path.removesuffix(".py").split("/")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*here[: -node.level], node.module or ""] if node.level else [node.module or ""]
            module = ".".join(part for part in base if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def breaches(path: str, source: str) -> list[str]:
    """What a file at this path of the package does that its part must not do."""
    tree = ast.parse(source)
    part = path.split("/", maxsplit=1)[0]
    found = []
    for name in imported(path, tree):
        top, _, rest = name.partition(".")
        ours = rest.split(".")[0]
        if top == "qmp_exporter" and part in OURS and (PACKAGE / ours).is_dir() and ours not in OURS[part]:
            found.append(f"{part} imports {ours}")
        if path.startswith("daemon/") and path != "daemon/run.py" and rest.startswith("daemon."):
            room, other = path.split("/")[1], rest.split(".")[1]
            if other in ROOMS and other not in ROOMS.get(room, set()):
                found.append(f"{room} imports {other}")
        if top != "qmp_exporter" and part in {"core", "catalog"} and top not in PURE:
            found.append(f"{part} imports {top}")
        if top in OWNERS and not path.startswith(OWNERS[top]):
            found.append(f"{path} imports {top}")
    if part in {"core", "catalog"}:
        calls = (
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        )
        found += [f"{part} calls {name}" for name in calls if name in IMPURE_CALLS]
    if not ast.get_docstring(tree):
        found.append("no first line that says what goes in and what comes out")
    return found


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_each_file_stays_within_its_walls(path):
    assert breaches(relative(path), path.read_text()) == []


@pytest.mark.parametrize(
    ("path", "source", "breach"),
    [
        ("core/vm.py", "import time", "core imports time"),
        ("core/vm.py", "import os.path", "core imports os"),
        ("core/vm.py", "from asyncio import sleep", "core imports asyncio"),
        ("core/vm.py", "import logging", "core imports logging"),
        ("core/vm.py", "from pathlib import Path", "core imports pathlib"),
        ("core/vm.py", "def later():\n    import random", "core imports random"),
        ("core/vm.py", "open('/proc/self/stat')", "core calls open"),
        ("core/vm.py", "print('hello')", "core calls print"),
        ("core/vm.py", "from qmp_exporter.catalog import CATALOG", "core imports catalog"),
        ("core/vm.py", "from qmp_exporter import catalog", "core imports catalog"),
        ("core/vm.py", "from ..daemon.link import Link", "core imports daemon"),
        ("core/vm.py", "from .. import daemon", "core imports daemon"),
        ("catalog/vm.py", "import socket", "catalog imports socket"),
        ("catalog/vm.py", "from qmp_exporter.daemon.monitor.watch import Watch", "catalog imports daemon"),
        ("daemon/monitor/watch.py", "from qmp_exporter.simulator import Monitor", "daemon imports simulator"),
        ("daemon/monitor/watch.py", "import qemu.qmp", "daemon/monitor/watch.py imports qemu"),
        ("daemon/monitor/watch.py", "import yaml", "daemon/monitor/watch.py imports yaml"),
        ("daemon/web/api.py", "from prometheus_client import Counter", "daemon/web/api.py imports prometheus_client"),
        ("daemon/web/api.py", "import aiohttp", "daemon/web/api.py imports aiohttp"),
        ("daemon/monitor/watch.py", "from qmp_exporter.daemon.targets.fleet import Fleet", "monitor imports targets"),
        ("daemon/targets/fleet.py", "from qmp_exporter.daemon.web import page", "targets imports web"),
        ("daemon/reload.py", "from qmp_exporter.daemon.web import api", "reload.py imports web"),
        ("web/http.py", "from qmp_exporter.daemon.monitor.link import Link", "web imports daemon"),
        ("daemon/web/api.py", "from qmp_exporter.web import ui", "daemon imports web"),
        ("daemon/host/process.py", "from qmp_exporter.daemon.monitor import link", "host imports monitor"),
        ("cli.py", "import yaml", "cli.py imports yaml"),
        ("cli.py", "from qemu.qmp import QMPClient", "cli.py imports qemu"),
        ("config/schema.py", "from qmp_exporter.core.family import Family", "config imports core"),
        ("simulator/vm.py", "from qmp_exporter.core.wire import decode", "simulator imports core"),
        ("simulator/vm.py", "import msgspec", "simulator/vm.py imports msgspec"),
        ("demo/qemu.py", "from qmp_exporter.daemon.monitor import link", "demo imports daemon"),
        ("core/vm.py", "x = 1", "no first line that says what goes in and what comes out"),
    ],
)
def test_a_breach_is_seen(path, source, breach):
    assert breach in breaches(path, f'"""In -> out."""\n{source}' if "first line" not in breach else source)


def test_the_walls_let_through_what_belongs_there():
    assert breaches("daemon/monitor/link.py", '"""In -> out."""\nimport asyncio\nfrom qemu.qmp import QMPClient') == []
    assert (
        breaches("catalog/vm.py", '"""In -> out."""\nfrom qmp_exporter.core.read import once\nfrom . import job') == []
    )
    assert breaches("demo/embedded.py", '"""In -> out."""\nfrom qmp_exporter.simulator import live') == []


def test_every_part_of_the_package_has_its_walls():
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == OURS.keys()


def test_nothing_pure_is_called_pure_that_python_does_not_have():
    assert PURE - {"msgspec"} <= sys.stdlib_module_names


# --- what is asked


def forbidden(command: str) -> bool:
    """query-rx-filter re-arms an event that libvirt waits for; the schema holds the VM up for 67 ms; x- may change."""
    return not re.fullmatch(r"query-[a-z0-9-]+", command) or command in {
        "query-rx-filter",
        "query-qmp-schema",
    }


OF_THE_BALLOON = {
    "qom-list": {b'{"path":"/machine/peripheral"}', b'{"path":"/machine/peripheral-anon"}'},
    "qom-get": {b'{"path":"/machine/peripheral/balloon0","property":"guest-stats"}'},
}


def test_nothing_is_asked_but_queries_that_do_no_harm():
    assert {command for command in CATALOG.commands if forbidden(command)} == OF_THE_BALLOON.keys()
    for command, arguments in OF_THE_BALLOON.items():
        assert all(CATALOG.allowed.allows(command, one) for one in arguments)
        assert not CATALOG.allowed.allows(command, b"")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("qom-list", b'{"path":"/objects"}'),
        ("qom-get", b'{"path":"/machine/peripheral/balloon0","property":"guest-stats-polling-interval"}'),
        ("qom-get", b'{"path":"/objects/secret0","property":"guest-stats"}'),
        ("qom-get", b'{"path":"/machine/peripheral/a/b","property":"guest-stats"}'),
        ("qom-get", b'{"path":"/machine/peripheral/a\\u0022","property":"guest-stats"}'),
        ("qom-get", b'{"path":"/machine/peripheral/","property":"guest-stats"}'),
        ("qom-set", b'{"path":"/machine/peripheral/balloon0","property":"guest-stats"}'),
        ("query-status", b"{}"),
    ],
)
def test_no_other_property_can_ever_be_asked(command, arguments):
    assert not CATALOG.allowed.allows(command, arguments)


def test_the_list_is_that_of_the_catalog():
    assert CATALOG.commands == {query.command for query in (QUERY_COMMANDS, *CATALOG.queries)}


@pytest.mark.parametrize(
    "command", ["quit", "x-query-rdma", "query-rx-filter", "query-qmp-schema", "human-monitor-command", "query-"]
)
def test_what_would_do_harm_is_seen(command):
    assert forbidden(command)


def test_each_query_is_there_once():
    asked = {(query.command, query.arguments) for query in CATALOG.queries}
    assert len(asked) == len(CATALOG.queries)
    for version in ((10, 0), (11, 1)):
        replies = [one.reply for one in CATALOG.queries if one.since <= version and not () < one.before <= version]
        assert len(set(replies)) == len(replies)
    assert {query.reply for query in CATALOG.queries} == set(replies)


# --- what is said about it


def unnamed(help_text: str, sources: set[str]) -> bool:
    """A help sentence without any of the events and commands that feed its family."""
    return bool(sources) and not any(re.search(rf"\b{re.escape(source)}\b", help_text) for source in sources)


@pytest.mark.parametrize("family", CATALOG.families, ids=lambda family: family.name)
def test_a_help_sentence_names_the_event_or_the_command(family):
    sources = {source.name for source in family.sources if source.name not in LIFECYCLE and " " not in source.name}
    assert not unnamed(family.help, sources)


def test_a_help_sentence_that_does_not_is_seen():
    assert unnamed("Times the vCPUs were stopped.", {"STOP"})
    assert unnamed("Times the vCPUs were STOPPED.", {"STOP"})
    assert not unnamed("Times the vCPUs were stopped, by STOP.", {"STOP"})


def test_the_reference_in_the_repository_is_that_of_the_catalog():
    assert (ROOT / "METRICS.md").read_text() == reference(), "make docs writes it again"


# --- what is deployed with it

NAME = re.compile(r"(?<![\w:/.-])((?:qemu|qmp_exporter)_[a-z0-9_]+)(?:\{([^{}]*)\})?(?![\w*{-])")
OF_PROMETHEUS = {"job", "instance", "vm", "tenant"}  # and of its targets, as in the examples
DEPLOYED = [
    path
    for path in (*(ROOT / "deploy").rglob("*"), *(ROOT / "docs").rglob("*"), ROOT / "README.md")
    if path.suffix in {".yml", ".yaml", ".json", ".md"}
    and path.name not in {"config.schema.json", "adding-a-metric.md"}  # whose metric is an example
    and "ansible" not in path.parts  # whose variables are called like the program
]


def known() -> dict[str, set[str]]:
    """Each sample name -> its labels."""
    names = {family.name: {label.name for label in family.labels} for family in CATALOG.families}
    stats = Selfstats()
    stats.count_targets(lambda: ("connected",))
    stats.watch_web_process(os.getpid())
    for line in stats.text(openmetrics=False).decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            for suffix in ("_bucket", "_sum", "_count") if kind == "histogram" else ("",):
                names[name + suffix] = {
                    "le",
                    "reason",
                    "same",
                    "source",
                    "command",
                    "state",
                    "version",
                    "revision",
                    "python_version",
                    "qemu_qmp_version",
                }
    return names


def strangers(text: str) -> list[str]:
    """The metrics and labels in a text that there are not."""
    names = known()
    found = []
    for name, selector in NAME.findall(text):
        if name not in names:
            found.append(name)
        else:
            labels = re.findall(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"', selector)
            found += [f"{name}{{{label}}}" for label in labels if label not in names[name] | OF_PROMETHEUS]
    return found


@pytest.mark.parametrize("path", DEPLOYED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_deployed_names_only_metrics_that_there_are(path):
    assert strangers(path.read_text()) == []


def test_a_metric_or_a_label_that_there_is_not_is_seen():
    assert strangers("rate(qemu_vm_stop_total[5m])") == ["qemu_vm_stop_total"]
    assert strangers('qemu_vm_state{status="paused"} == 1') == ["qemu_vm_state{status}"]
    assert strangers("qmp_exporter_bad_message_total") == ["qmp_exporter_bad_message_total"]
    assert strangers('sum by (vm) (qemu_vm_state{state=~"io-error|paused",job="qemu"})') == []


def test_something_is_deployed():
    assert any("qemu_up" in path.read_text() for path in DEPLOYED)
