"""The repository -> a directory with the documents for who runs the exporter, in which every link leads somewhere.

    python deploy/debian/documents.py DIRECTORY

They lie there as they do here, so that their links hold.  What a link leads to that is for developers is left out, and
the link becomes plain text.
"""

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHIPPED = (
    "README.md",
    "METRICS.md",
    "config.example.yaml",
    "deploy/README.md",
    "deploy/config.schema.json",
    "deploy/targets.py",
    "deploy/web-config.example.yml",
    "deploy/prometheus/*",
    "deploy/prometheus/consoles/*",
    "deploy/grafana/*.json",
    "deploy/ansible/**/*",
    "deploy/fleet/*",
    "deploy/fleet/targets/*",
    "deploy/systemd/*",
    "docs/*",
    "docs/runbooks/*",
)
LINK = re.compile(r"\[(?P<text>(?:[^][]|\[[^]]*\])*)\]\((?P<target>[^)\s#]+)(?:#[^)\s]*)?\)")


def documents(directory: Path) -> None:
    """Copy them."""
    files = sorted(path for pattern in SHIPPED for path in ROOT.glob(pattern) if path.is_file())
    for file in files:
        place = directory / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".md":
            place.write_text(without_dead_links(file, set(files)))
        else:
            shutil.copyfile(file, place)


def without_dead_links(file: Path, shipped: set[Path]) -> str:
    """The text of a page, in which links to what is not shipped are plain text."""

    def link(match: re.Match[str]) -> str:
        target = match["target"]
        is_elsewhere = re.match(r"https?:|mailto:", target) is not None
        return match[0] if is_elsewhere or (file.parent / target).resolve() in shipped else match["text"]

    return LINK.sub(link, file.read_text())


if __name__ == "__main__":
    documents(Path(sys.argv[1]))
