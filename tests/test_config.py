"""Configuration files → what the daemon gets, or the very sentences a tired person reads."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmp_exporter.config import Config, ConfigError, Known, Listener, Target, json_schema, load, parse, parse_targets
from qmp_exporter.config.targets import DEFAULTS
from qmp_exporter.documents import file as file_module

ROOT = Path(__file__).parents[1]
FILES = ROOT / "tests" / "configs"
KNOWN = Known(labels=("device", "operation"), groups=("block_latency", "block_stats", "display"))


def errors_of(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "config.yaml", KNOWN)
    return caught.value.errors


def errors_or_none(text: str) -> tuple[str, ...]:
    try:
        parse(text, "config.yaml", KNOWN)
    except ConfigError as error:
        return error.errors
    return ()


@pytest.mark.parametrize("path", sorted(FILES.glob("good-*.yaml")), ids=lambda path: path.stem)
def test_a_good_file_is_accepted(path: Path):
    assert all(vm.poll_interval >= 1 for vm in load(path, KNOWN).vms)


@pytest.mark.parametrize("path", sorted(FILES.glob("bad-*.yaml")), ids=lambda path: path.stem)
def test_a_bad_file_is_refused_with_exactly_the_errors_in_its_leading_comments(path: Path):
    text = path.read_bytes().decode()
    expected = [line.removeprefix("# error: ") for line in text.split("\n") if line.startswith("# error: ")]
    with pytest.raises(ConfigError) as caught:
        parse(text, path.name, KNOWN)
    assert list(caught.value.errors) == expected


def test_the_example_is_accepted():
    config = load(ROOT / "config.example.yaml", KNOWN)
    assert {vm.poll_interval for vm in config.vms} == {15}
    assert [vm.name for vm in config.vms] == ["web01", "db01", "build01", "lab01", "101", "legacy01"]


def test_everything_said_in_the_file_arrives():
    text = """
        poll_interval: 1m30s500ms
        vms:
          - name: web01
            socket: "@web01"
            labels: {tenant: acme}
            allow_shared_monitor: yes
        """
    target = Target("web01", "@web01", {"tenant": "acme"}, allow_shared_monitor=True, poll_interval=90.5)
    assert parse(text, "config.yaml") == Config((target,), defaults=Target("", "", poll_interval=90.5))


def test_what_is_not_said_has_a_default():
    target = Target("a", "/a", {}, allow_shared_monitor=False)
    assert parse("vms: [{name: a, socket: /a}]", "config.yaml") == Config((target,))


def test_targets_can_be_kept_in_sets_and_do_not_change():
    (target,) = parse("vms: [{name: a, socket: /a, labels: {tenant: acme}}]", "config.yaml").vms
    assert {target, Target("a", "/a", {"tenant": "acme"})} == {target}
    with pytest.raises(TypeError):
        target.labels["tenant"] = "other"  # type: ignore[index]


def test_a_label_is_reserved_only_where_a_metric_has_it():
    text = "vms: [{name: a, socket: /a, labels: {device: b}}]"
    assert parse(text, "config.yaml").vms[0].labels == {"device": "b"}
    assert errors_of(text)[0].startswith("config.yaml:1:38: vms[0].labels.device: reserved")


def test_merged_values_yield_to_the_ones_written_out():
    vms = load(FILES / "good-anchors.yaml").vms
    assert vms[2] == Target("web03", "/run/qmp/web03.sock", {"tenant": "acme", "tier": "silver"})


def test_a_section_whose_contents_are_commented_out_is_empty():
    config = load(FILES / "good-empty-sections.yaml", KNOWN)
    (entry,) = config.discover
    assert (config.vms, config.listen, config.files, config.defaults) == ((), (), (), DEFAULTS)
    assert (entry.exclude, entry.shared) == ((), DEFAULTS)
    assert load(FILES / "good-only-vms-key.yaml", KNOWN) == Config()


def test_an_editor_is_told_too_that_a_section_may_be_empty():
    schema = json.loads(json_schema())
    sections = {
        (name, key): field
        for name, model in {"": schema, **schema["$defs"]}.items()
        for key, field in model["properties"].items()
        if isinstance(field.get("default"), list | dict) or key == "metrics"
    }
    assert len(sections) == 17
    assert [place for place, field in sections.items() if {"type": "null"} not in field["anyOf"]] == []


def test_the_fifty_first_error_is_only_counted():
    errors = errors_of("vms: [" + "{}," * 40 + "]")
    assert len(errors) == 51
    assert errors[-1] == "and 30 more"


def test_a_misspelt_key_is_one_mistake_and_not_two():
    assert errors_of("vms:\n  - {name: web01, sokcet: /a}") == (
        'config.yaml:2:19: vms[0].sokcet: unknown key, did you mean "socket"?',
    )


@pytest.mark.parametrize(
    "text", ["[" * 5000, "{a: " * 5000, "- " * 5000, "%YAML 1." + "9" * 5000, "9" * 5000, "!" * 5000, "&" * 5000]
)
def test_too_much_of_something_is_an_error_and_no_crash(text: str):
    assert len(errors_of(text)) == 1


def test_a_name_cannot_reach_the_terminal_of_its_reader():
    for error in errors_of('vms: [{name: "\\e[2J", "\\e[31m": b, socket: "\\u2028\\ud800"}]'):
        assert error.isprintable()
        assert error.isascii()


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"config.yaml: cannot be read: No such file or directory"):
        load(tmp_path / "config.yaml")


def test_a_directory_is_no_file(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_a_byte_that_is_no_utf8_is_found(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_bytes("vms:\n  - name: é".encode() + b"\xff\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.errors == (f"{path}:2:12: found the byte 0xff, wanted text in UTF-8",)


def test_a_device_that_never_ends_is_not_read_to_its_end():
    with pytest.raises(ConfigError, match="found more than 4 MiB"):
        load(Path("/dev/zero"))


def test_the_schema_for_editors_is_the_one_in_deploy():
    committed = json.loads((ROOT / "deploy" / "config.schema.json").read_text())
    assert committed == json.loads(json_schema()), "run `make docs`"


PIECES = st.sampled_from(
    [
        *"\n\n\n -:?[]{},&*!|>'\"%@#~<=.0123456789aexn\t\\",
        "  ",
        "vms:\n",
        "  - name: ",
        "socket: ",
        "/a",
        "labels: ",
        "&a ",
        "*a",
        "<<: ",
        "!!str ",
        "---\n",
        "...\n",
        "\\ud800",
        "\\U0011",
        "2024-13-45",
        "0x",
        "1e",
        "no",
        "\ud800",
        "%YAML ",
        "? ",
    ]
)


@given(st.one_of(st.text(), st.lists(PIECES).map("".join)))
@settings(deadline=None)
def test_no_text_at_all_raises_anything_but_a_config_error(text: str):
    assert all(line.startswith(("config.yaml:", "and ")) for line in errors_or_none(text))


TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Co", "Zl", "Zp"]), min_size=1, max_size=20)
VM = st.fixed_dictionaries(
    {"name": TEXT, "socket": TEXT.map(lambda name: "@" + name)},
    optional={
        "labels": st.dictionaries(st.from_regex("[a-z]{1,3}_", fullmatch=True), TEXT),
        "allow_shared_monitor": st.booleans(),
    },
)


@given(st.lists(VM, unique_by=(lambda vm: vm["name"], lambda vm: vm["socket"])))
def test_whatever_is_written_properly_comes_back(vms: list[dict[str, object]]):
    text = json.dumps({"vms": vms}, ensure_ascii=False)  # JSON is YAML
    assert parse(text, "config.yaml") == Config(tuple(Target(**vm) for vm in vms))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | TEXT, st.lists, max_leaves=5), st.data())
def test_a_value_of_any_kind_in_any_place_is_accepted_or_explained(value: object, data: st.DataObject):
    vm = {"name": "web01", "socket": "/a", "labels": {"tenant": "acme"}, "allow_shared_monitor": False}
    document = {"poll_interval": "15s", "vms": [vm]}
    container, key = data.draw(
        st.sampled_from([(document, key) for key in document] + [(vm, key) for key in vm] + [(vm["labels"], "tenant")])
    )
    container[key] = value
    assert all(key in line for line in errors_or_none(json.dumps(document, ensure_ascii=False)))


def test_query_block_is_switched_off_for_all_and_on_for_one():
    off, on = load(FILES / "good-query-block.yaml").vms
    assert not off.query_block
    assert on.query_block


def test_groups_of_metrics_are_switched_off_for_all_or_instead_for_one():
    vms = load(FILES / "good-metrics.yaml", KNOWN).vms
    assert [sorted(vm.disabled) for vm in vms] == [["block_stats", "display"], [], ["block_latency"]]


def test_where_vms_dial_in_is_said_with_its_mode_and_its_group():
    plain, tenants = load(FILES / "good-listen.yaml", KNOWN).listen
    shared = Target("", "", poll_interval=30)
    assert plain == Listener("/run/qmp-exporter/dial-in.sock", "name", 0o660, "", 900, shared)
    shared = Target("", "", {"tenant": "acme"}, query_block=False, disabled=frozenset({"display"}), poll_interval=30)
    assert tenants == Listener("/run/qmp-exporter/tenants.sock", "uuid", 0o666, "root", 3600, shared)


def test_a_character_that_json_writes_as_two_escapes_is_one():
    (target,) = parse(r'{"vms": [{"name": "\ud83d\udc27", "socket": "/a"}]}', "config.yaml").vms
    assert target.name == "\N{PENGUIN}"


def test_what_is_discovered_is_watched_as_the_entry_says_and_else_as_all_are():
    plain, special, numbered = load(FILES / "good-discover.yaml").discover
    assert plain.shared == Target("", "", poll_interval=30)
    assert plain.grace == 900
    assert special.shared == Target("", "", {"tenant": "acme"}, query_block=False, poll_interval=30, owner=0)
    assert special.exclude == ("*-tmp.sock", "/run/by-hand/test-*/monitor")
    assert special.grace == 0
    assert numbered.shared.owner == 4711


@pytest.mark.parametrize(
    ("path", "name"),
    [("/run/qmp/web01.sock", "web01"), ("/run/qmp/web.01.sock", "web.01"), ("/run/qmp/web01", "web01")],
)
def test_a_vm_is_named_after_its_socket_unless_something_else_is_said(path: str, name: str):
    (entry,) = parse("discover: [{glob: /run/qmp/*}]", "config.yaml").discover
    match = entry.name.search(path)
    assert match
    assert match["vm"] == name


FILE_DEFAULTS = Target("", "", query_block=False, poll_interval=30)


def test_a_file_of_targets_is_a_list_like_vms_and_what_it_leaves_open_is_as_in_the_configuration():
    text = "[{name: web01, socket: /a}, {name: web02, socket: /b, query_block: true, labels: {tenant: acme}}]"
    assert parse_targets(text, "targets.yaml", FILE_DEFAULTS) == (
        Target("web01", "/a", query_block=False, poll_interval=30),
        Target("web02", "/b", {"tenant": "acme"}, query_block=True, poll_interval=30),
    )


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("", ['targets.yaml:1:1: found an empty file, wanted at least "[]"']),
        ("vms: []", ["targets.yaml:1:1: found a mapping, wanted a list"]),
        (
            "- name: web01\n  sokcet: /a\n- name: web01\n  socket: 5\n",
            [
                'targets.yaml:2:3: [0].sokcet: unknown key, did you mean "socket"?',
                'targets.yaml:3:9: [1].name: found "web01" as on line 1, wanted a name of its own for every VM',
                'targets.yaml:4:11: [1].socket: found the number 5, wanted text: write it as "5"',
            ],
        ),
    ],
)
def test_a_file_of_targets_has_its_mistakes_named_like_any_other(text: str, errors: list[str]):
    with pytest.raises(ConfigError) as caught:
        parse_targets(text, "targets.yaml", FILE_DEFAULTS)
    assert list(caught.value.errors) == errors


@pytest.mark.parametrize("somebody_writes", [True, False])
def test_a_fifo_out_of_which_nothing_comes_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, somebody_writes: bool
) -> None:
    monkeypatch.setattr(file_module, "PATIENCE", 0.05)
    os.mkfifo(tmp_path / "config.yaml")
    reader = os.open(tmp_path / "config.yaml", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(tmp_path / "config.yaml", os.O_WRONLY) if somebody_writes else None
    try:
        with pytest.raises(ConfigError, match="nothing comes out of it"):
            load(tmp_path / "config.yaml")
    finally:
        os.close(reader)
        if writer is not None:
            os.close(writer)


def test_what_is_piped_in_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    with subprocess.Popen(["sh", "-c", 'echo "vms: []" > "$0"', tmp_path / "config.yaml"]):
        assert load(tmp_path / "config.yaml").vms == ()


@pytest.mark.parametrize("key", ["owner: root", "visit: true"])
def test_what_looks_at_who_is_there_wants_a_socket_of_this_host(key):
    (error,) = errors_of(f"vms: [{{name: a, socket: 'tcp:127.0.0.1:4444', {key}}}]")
    assert f"wanted a socket of this host for {key.partition(':')[0]}" in error
