"""The boards -> dashboards of Grafana as JSON, in a directory.

python deploy/grafana DIRECTORY
"""

import json
import sys
from pathlib import Path
from typing import Any

from board import Board, Panel
from boards import BOARDS
from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models.dashboard import (
    DashboardLink,
    DashboardLinkType,
    DataTransformerConfig,
    DynamicConfigValue,
    VariableOption,
    VariableRefresh,
)

SOURCE = common_models.DataSourceRef(type_val="prometheus", uid="$datasource")
HOSTS = 'job=~"$job",instance=~"$instance"'
VMS = f'{HOSTS},vm=~"$vm"'
TAG = "qemu"
# What is worth a line across all panels: a state that changed, and events that tell of a fault.
EVENTS = (
    'increase(qemu_events_total{%V,event=~"STOP|RESUME|RESET|SHUTDOWN|GUEST_PANICKED|WATCHDOG|BLOCK_IO_ERROR"}[1m]) > 0'
)


def main(directory: Path) -> None:
    for board in BOARDS:
        made = json.loads(JSONEncoder(sort_keys=True).encode(made_of(board).build()))
        (directory / f"{board.uid}.json").write_text(json.dumps(made, indent=2, sort_keys=True) + "\n")


def made_of(board: Board) -> dashboard.Dashboard:
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.help)
        .tags([TAG])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(chosen("job", "label_values(qmp_exporter_build_info, job)"))
        .with_variable(chosen("instance", 'label_values(qmp_exporter_build_info{job=~"$job"}, instance)'))
        .link(
            dashboard.DashboardLink("QEMU")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
    )
    if board.vm:
        made.with_variable(chosen("vm", f"label_values(qemu_up{{{HOSTS}}}, vm)", many=not board.one))
        made.annotation(
            dashboard.AnnotationQuery()
            .name("Events")
            .datasource(SOURCE)
            .enable(True)
            .icon_color("orange")
            .expr(filled(EVENTS))
        )
    for title, panels in board.rows.items():
        made.with_row(dashboard.Row(title))
        for panel in panels:
            made.with_panel(drawn(panel))
    return made


def chosen(name: str, query: str, *, many: bool = True) -> dashboard.QueryVariable:
    variable = (
        dashboard.QueryVariable(name)
        .label({"job": "Job", "instance": "Host", "vm": "VM"}[name])
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(many)
        .include_all(many)
    )
    return variable.current(VariableOption(text="All", value="$__all")).all_value(".*") if many else variable


def drawn(panel: Panel) -> Any:
    made = {"lines": lines, "number": number, "table": rows, "states": states}[panel.kind](panel)
    made.title(panel.title).description(panel.help).unit(panel.unit).datasource(SOURCE)
    made.span(panel.width).height(4 if panel.kind == "number" else 8)
    for index, (legend, query) in enumerate(panel.queries.items()):
        target = prometheus.Dataquery().ref_id(chr(ord("A") + index)).expr(filled(query)).legend_format(legend)
        made.with_target(target.instant().format("table") if panel.kind == "table" else target)
    return made


def lines(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().fill_opacity(10).min(0)
    made.legend(common.VizLegendOptions().show_legend(True).placement(common_models.LegendPlacement.BOTTOM))
    made.tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    if panel.stacked:
        made.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    return made


def number(_panel: Panel) -> stat.Panel:
    return stat.Panel().graph_mode(common_models.BigValueGraphMode.NONE)


def rows(_panel: Panel) -> table.Panel:
    """Without what is the same in each row; a VM leads to its board, an alert to its runbook."""
    hidden = {"Time": True, "__name__": True, "job": True, "alertstate": True}
    return (
        table.Panel()
        .no_value("None")
        .with_transformation(DataTransformerConfig(id_val="organize", options={"excludeByName": hidden}))
        .override_by_name("vm", [link("This VM", "/d/qemu-vm?var-vm=${__value.raw}&${datasource:queryparam}")])
        .override_by_name("alertname", [link("Runbook", "http://${__data.fields.instance}/-/runbooks/${__value.raw}")])
    )


def link(title: str, url: str) -> DynamicConfigValue:
    return DynamicConfigValue(
        id_val="links", value=[DashboardLink(title=title, url=url, type_val=DashboardLinkType.LINK)]
    )


def states(_panel: Panel) -> statetimeline.Panel:
    return statetimeline.Panel().show_value(common_models.VisibilityMode.NEVER).row_height(0.8)


def filled(query: str) -> str:
    return query.replace("%H", HOSTS).replace("%V", VMS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
