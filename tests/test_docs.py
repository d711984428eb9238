"""What the documentation says -> whether it is so: links lead somewhere, commands and examples are taken."""

import ast
import grp
import json
import pwd
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
import yaml

import play
from parts import need
from qmp_exporter import catalog
from qmp_exporter.catalog import CATALOG
from qmp_exporter.catalog.monitor import STATE
from qmp_exporter.cli import command_line
from qmp_exporter.config import load_targets, parse
from qmp_exporter.config.reference import EXAMPLES, reference
from qmp_exporter.config.targets import DEFAULTS
from qmp_exporter.core.dispatch import Dispatch
from qmp_exporter.daemon.targets.reconciler import KNOWN
from qmp_exporter.log import LOST
from qmp_exporter.web import endpoints

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "tests/**/*.md")
    for path in ROOT.glob(pattern)
)
OURS = {"vms", "discover", "files", "listen", "poll_interval", "query_block", "metrics"}  # keys at the top of a file


class Block(NamedTuple):
    """A piece of code on a page; `language` is what stands behind the fence, or `indented`, or `inline`."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    lines = (ROOT / page).read_text().splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        begun = number + 1
        number += 1
        if fence := re.match(r"( *)```+(\w*)", line):
            text = []
            while number < len(lines) and not lines[number].lstrip().startswith("```"):
                text.append(lines[number].removeprefix(fence[1]))
                number += 1
            number += 1
            yield Block(page, begun, fence[2], "\n".join(text))
        elif line.startswith("    "):
            text = [line[4:]]
            while number < len(lines) and lines[number].startswith("    "):
                text.append(lines[number][4:])
                number += 1
            yield Block(page, begun, "indented", "\n".join(text))
        else:
            yield from (Block(page, begun, "inline", code) for code in re.findall(r"`([^`]+)`", line))


ALL = [block for page in PAGES for block in blocks(page)]


def of(*languages: str) -> list[Block]:
    return [block for block in ALL if block.language in languages]


# --- links


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def dead(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    if not target.exists():
        return True
    return bool(anchor) and anchor not in anchors(target.resolve().relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    links += re.findall(r'(?:src|href)="([^"]+)"', prose(page))
    assert [link for link in links if not re.match("https?:|mailto:", link) and dead(page, link)] == []


@pytest.mark.parametrize(("link", "expected"), [("NO.md", True), ("METRICS.md#no", True), ("METRICS.md#labels", False)])
def test_a_dead_link_is_seen(link: str, expected: bool) -> None:  # noqa: FBT001  a table's column
    assert dead(Path("README.md"), link) is expected


def test_every_page_of_docs_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"({page}" not in index} == set()


# --- commands


def commands(block: Block) -> Iterator[list[str]]:
    """The calls of qmp-exporter in it, as lists of arguments."""
    text = re.sub(r"\\\n\s*", " ", block.text)
    for line in text.splitlines():
        call = re.match(r"^(?:[$#] )?(?:sudo )?(?:\S*/)?qmp-exporter( .*)?$", line.strip())
        if call:
            words = shlex.split(call[1] or "", comments=True)
            end = next((n for n, word in enumerate(words) if word in {"|", ">", "&&", ";", "2>"}), len(words))
            yield [*words[:end], "--help"] if len(words) == 1 else words[:end]  # a name, not a call


CALLS = [
    (block, arguments)
    for block in of("", "sh", "console", "bash", "indented", "inline")
    for arguments in commands(block)
    if arguments
]


@pytest.mark.parametrize(("block", "arguments"), CALLS, ids=[f"{block} {' '.join(words)}" for block, words in CALLS])
def test_a_command_line_is_one_that_the_program_takes(block: Block, arguments: list[str]) -> None:
    try:
        command_line().parse_args(arguments)
    except SystemExit as refused:
        if refused.code:
            pytest.fail(f"{block}: qmp-exporter {shlex.join(arguments)}")


def test_there_are_commands_in_the_documentation() -> None:
    assert len(CALLS) > 10


def shell(block: Block) -> str:
    """What is to be typed: all of it, or what stands behind a $."""
    if block.language != "console":
        return block.text
    return "\n".join(line[2:] for line in block.text.splitlines() if line.startswith("$ "))


@pytest.mark.parametrize("block", of("sh", "bash", "console"), ids=str)
def test_what_is_typed_into_a_shell_is_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=shell(block), text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


# --- examples


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_yaml_is_taken_by_whom_it_is_for(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda _: pwd.getpwuid(0))  # users and groups of examples need not be here
    monkeypatch.setattr(grp, "getgrnam", lambda _: grp.getgrgid(0))
    value = yaml.safe_load(block.text)
    if isinstance(value, list) and "socket" in value[0]:
        (tmp_path / "targets.yaml").write_text(block.text)
        load_targets(tmp_path / "targets.yaml", DEFAULTS, KNOWN)
    elif OURS & value.keys():
        parse(block.text, str(block), KNOWN)
    elif "groups" in value:
        assert_promtool("rules", block.text, tmp_path)
    elif "scrape_configs" in value:
        assert_promtool("config", block.text, tmp_path, "--syntax-only")


@pytest.mark.parametrize("block", of("promql"), ids=str)
def test_promql_is_promql(block: Block, tmp_path: Path) -> None:
    rules = [{"record": f"one:{number}", "expr": one} for number, one in enumerate(block.text.split("\n\n"))]
    assert_promtool("rules", json.dumps({"groups": [{"name": "page", "rules": rules}]}), tmp_path)


def test_every_metric_that_another_exporters_is_compared_with_is_ours() -> None:
    named = set(re.findall(r"`(qemu_[a-z_]+)`", (ROOT / "docs" / "coverage.md").read_text()))
    assert len(named) > 50
    assert named <= {family.name for family in CATALOG.families}


def assert_promtool(kind: str, text: str, directory: Path, *options: str) -> None:
    (directory / "it.yml").write_text(text)
    command = [need("promtool"), "check", kind, *options, str(directory / "it.yml")]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", of("xml"), ids=str)
def test_xml_is_well_formed(block: Block) -> None:
    ET.fromstring(block.text)  # noqa: S314  it is our own


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


def test_a_monitor_that_several_pages_show_has_the_same_arguments_on_all() -> None:
    shown: dict[str, set[str]] = {}
    for page in PAGES:
        text = (ROOT / page).read_text().replace("\\,", ",")  # as Ganeti wants it
        for path, rest in re.findall(r"socket,id=exporter,path=(/run/[\w/.-]+)((?:,[\w-]+=\w+)+)", text):
            shown.setdefault("dial-in" if "dial-in" in path else "monitor", set()).add(rest)
    assert shown == {
        "monitor": {",server=on,wait=off"},
        "dial-in": {",server=off,reconnect=1", ",server=off,reconnect-ms=1000"},
    }


def test_the_domain_that_two_pages_show_is_the_same_and_so_what_is_tried() -> None:
    domains = [block for block in of("xml") if "path=/run/qmp/" in block.text]
    assert {str(block.page) for block in domains} == {"deploy/README.md", "docs/quickstart-libvirt.md"}
    assert len({block.text for block in domains}) == 1


def test_the_command_for_proxmox_is_the_same_on_both_pages() -> None:
    commands = [line for block in of("sh") for line in block.text.splitlines() if line.startswith("qm set 101 --args")]
    assert len(commands) == 2
    assert len(set(commands)) == 1


# --- what is generated


def test_the_configuration_reference_is_that_of_the_models() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == reference(), "make docs writes it again"


@pytest.mark.parametrize("model", EXAMPLES)
def test_the_examples_of_the_configuration_reference_are_good(model: str) -> None:
    example = EXAMPLES[model]
    wrapped = {
        "": example,
        "VM": {"vms": [example]},
        "DiscoverEntry": {"discover": [example]},
        "ListenEntry": {"listen": [example]},
        "LibvirtEntry": {"libvirt": [example]},
    }
    parse(json.dumps(wrapped.get(model, {model.lower(): example, "vms": []})), model, KNOWN)


def test_every_key_of_the_configuration_has_an_example() -> None:
    schema = json.loads((ROOT / "deploy" / "config.schema.json").read_text())
    models = {"": schema, **schema["$defs"]}
    keys = {(name, key) for name, model in models.items() for key in model["properties"]}
    assert keys == {(name, key) for name, examples in EXAMPLES.items() for key in examples}


def test_the_page_about_the_api_has_every_endpoint() -> None:
    assert endpoints.table() in (ROOT / "docs" / "api.md").read_text()


# --- what is written by hand about the program


LOGGING = ("daemon", "runtime", "web", "webserver")


def messages() -> set[str]:
    """Everything that the daemon may log."""
    found = {LOST}
    for path in (path for part in LOGGING for path in (ROOT / "qmp_exporter" / part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in {"debug", "info", "warning", "error", "exception", "critical"}
                and ast.unparse(node.func.value) in {"log", "self._log"}
            ):
                assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}: a message is a constant"
                found.add(str(node.args[0].value))
    return found


TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text()


def test_every_message_of_the_log_is_explained_and_no_other() -> None:
    explained = re.split(r"^## What Prometheus sees", TROUBLESHOOTING, flags=re.MULTILINE)[0]
    assert set(re.findall(r"^### (.*)$", explained, re.MULTILINE)) == messages()


def test_every_state_of_a_monitor_is_explained_and_no_other() -> None:
    table = TROUBLESHOOTING.partition("## States of a monitor")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE) == list(STATE.values)


def examples() -> list[str]:
    """A row and its test, a group and its test."""
    return [block.text for block in ALL if block.page.name == "adding-a-metric.md" and block.language == "python"]


def told_by(tests: str, names: dict[str, Any], extended: Dispatch, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the tests of the page with that catalog; how many there are."""
    monkeypatch.setattr(play, "CATALOG", extended)
    names["Story"] = partial(play.Story, dispatch=extended)
    exec(tests, names)  # noqa: S102  it is our own
    return len([test() for name, test in names.items() if name.startswith("test_")])


def test_the_example_of_adding_a_metric_works(monkeypatch: pytest.MonkeyPatch) -> None:
    row, tests, *_ = examples()
    names: dict[str, Any] = {}
    exec(row, names)  # noqa: S102  it is our own
    added = names["COLO_EXITS"]
    assert not {added.name} & {family.name for family in CATALOG.families}, "it is an example of something new"
    extended = Dispatch((*CATALOG.families, added), CATALOG.queries)
    assert told_by(tests, names, extended, monkeypatch) == 2


def test_the_example_of_adding_a_group_works_as_one_more_in_the_tuple(monkeypatch: pytest.MonkeyPatch) -> None:
    *_, group, tests = examples()
    names: dict[str, Any] = {}
    exec(group, names)  # noqa: S102  it is our own
    added = names["GROUP"]
    assert added.name not in catalog.GROUPS, "it is an example of something new"
    monkeypatch.setitem(catalog.GROUPS, added.name, added)
    extended = catalog.without.__wrapped__(frozenset())
    assert told_by(tests, names, extended, monkeypatch) == 1
    switched_off = catalog.without.__wrapped__(frozenset({added.name}))
    assert extended.commands - switched_off.commands == {"query-tpm"}
    assert {family.name for family in extended.families if family.name not in {f.name for f in CATALOG.families}} == {
        "qemu_tpms"
    }


def test_the_quickstarts_say_whether_they_were_tried() -> None:
    quickstarts = list((ROOT / "docs").glob("quickstart-*.md"))
    assert len(quickstarts) == 5
    for page in quickstarts:
        assert re.search(r"^\*\*(Tried\*\* on|From documentation\*\*)", page.read_text(), re.MULTILINE), page.name


def test_every_benchmark_has_a_place_for_its_numbers() -> None:
    """Else `make bench` ends in the middle, after minutes."""
    bench = ROOT / "tests/bench"
    (sections,) = re.findall(r"^SECTIONS = \{(.*?)^\}", (bench / "__main__.py").read_text(), re.MULTILINE | re.DOTALL)
    names = re.findall(r'^    "(\w+)":', sections, re.MULTILINE)
    assert "chain" in names
    readme = (bench / "README.md").read_text()
    assert [
        name for name in names if f"<!-- {name} -->\n" not in readme or f"<!-- end of {name} -->" not in readme
    ] == []
