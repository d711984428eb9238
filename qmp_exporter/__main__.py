"""python -m qmp_exporter is qmp-exporter."""

from qmp_exporter.cli import main

main()
