"""A build of the wheel or the sdist -> qmp_exporter/revision.txt in it, which says of which git revision it is."""

import tempfile
from pathlib import Path
from runpy import run_path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class RevisionHook(BuildHookInterface):
    """An sdist has the file already, so that a wheel made of it is of the same revision."""

    _directory: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version`: of the kind of build; an editable installation asks its clone."""
        ours = run_path(str(Path(self.root, "qmp_exporter", "revision.py")))  # nothing is installed yet
        revision = ours["of_clone"](Path(self.root))
        if version == "editable" or not revision:
            return
        self._directory = tempfile.TemporaryDirectory()  # away from the source, which a build leaves as it is
        file = Path(self._directory.name, ours["BAKED"])
        file.write_text(f"{revision}\n")
        build_data["force_include"][str(file)] = f"qmp_exporter/{file.name}"

    def finalize(self, _version: str, _build_data: dict[str, Any], _artifact: str) -> None:
        if self._directory:
            self._directory.cleanup()
