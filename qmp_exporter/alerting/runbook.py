"""A trouble -> its runbook in Markdown: a head from the list of troubles, and a body that is written by hand."""

import re
import textwrap
from importlib import resources

from qmp_exporter.alerting.rules import duration, expression, with_threshold
from qmp_exporter.alerting.settings import BY_NAME, Settings
from qmp_exporter.core.current_troubles import in_words
from qmp_exporter.core.trouble import Trouble

# What stands for the labels of an alert where there is none yet.
NAMES = {
    "vm": "VM",
    "instance": "HOST",
    "device": "DISK",
    "operation": "OPERATION",
    "state": "STATE",
    "status": "STATUS",
    "storage": "STORAGE",
    "manager": "MANAGER",
    "port": "PORT",
    "type": "TYPE",
    "job_id": "JOB",
    "source": "SOURCE",
}
_VALUE = re.compile(r"{{ \$value[^}]*}}")


def runbook(name: str) -> str:
    """Of the alert of this name.

    :raise KeyError: there is none.
    """
    trouble = BY_NAME[name]
    body = resources.files("qmp_exporter.alerting").joinpath("runbooks", f"{name}.md").read_text("utf-8")
    return f"{_head(trouble)}\n{body}"


def index() -> str:
    """All of them, each with what it is about."""
    rows = (f"| [{one.name}]({one.name}.md) | {one.severity} | {one.summary} |" for one in BY_NAME.values())
    return "\n".join(("# Runbooks", "", "| Alert | Severity | What it is |", "|---|---|---|", *rows, ""))


def pages() -> dict[str, str]:
    """The files of docs/runbooks by their names."""
    return {"README.md": index(), **{f"{name}.md": runbook(name) for name in BY_NAME}}


def _head(trouble: Trouble) -> str:
    settings = Settings()
    waits = trouble.lasts + trouble.wait
    when = f"It fires after {duration(waits)} in which this holds" if waits else "It fires at once when this holds"
    kept = f", and for {duration(trouble.keeps)} after" if trouble.keeps else ""
    expr = textwrap.dedent(expression(trouble, settings)).strip()
    meaning = _VALUE.sub("so much", with_threshold(trouble.meaning, trouble, settings))
    return (
        f"# {trouble.name}\n\n**{trouble.severity}**: {trouble.summary}\n\n{_filled(meaning)}\n\n"
        f"**What to do**: {_filled(trouble.todo)}\n\n{when}{kept}:\n\n```promql\n{expr}\n```\n"
    )


def _filled(text: str) -> str:
    return " ".join(in_words(text, NAMES).split()).replace("VM VM", "the VM")
