"""WHAT is measured: each metric family is one row beside what feeds it.  No query is ever sent but those named here."""

from qmp_exporter.core.dispatch import Dispatch

from . import block, display, job, monitor, process, vm

GROUPS = {
    "monitor": monitor.FAMILIES,
    "vm": vm.FAMILIES,
    "block": block.FAMILIES,
    "block_job": job.FAMILIES,
    "display": display.FAMILIES,
    "process": process.FAMILIES,
}

CATALOG = Dispatch(
    families=tuple(family for families in GROUPS.values() for family in families),
    queries=(*vm.QUERIES, *block.QUERIES, *job.QUERIES, *display.QUERIES, *process.QUERIES),
    remember=(*monitor.REMEMBER, *vm.REMEMBER, *block.REMEMBER, *display.REMEMBER, *process.REMEMBER),
)
