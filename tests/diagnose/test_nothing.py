"""A configuration that gives no VM -> what is said of it, with and without QEMUs that run here."""

import json
from pathlib import Path

import pytest

from qmp_exporter.cli import main
from qmp_exporter.config import parse
from qmp_exporter.diagnose.finding import Finding
from qmp_exporter.diagnose.host import Host, Process
from qmp_exporter.diagnose.nothing import no_vms
from qmp_exporter.diagnose.report import details

ROOT = Path(__file__).parents[2]
FRESH = ROOT / "deploy" / "debian" / "config.yaml"
PLAIN = ("/usr/bin/qemu-system-x86_64", "-name", "guest=web01", "-m", "256")
ARGUMENTS = """\
            -chardev socket,id=exporter,path=/run/qmp/{}.sock,server=on,wait=off \\
            -mon chardev=exporter,mode=control
"""


def told(config: str, *qemus: tuple[str, ...]) -> tuple[Finding, str]:
    host = Host()
    vars(host)["qemus"] = tuple(Process(7, "qemu-system-x86", "libvirt-qemu", argv) for argv in qemus)
    finding = no_vms(parse(config, "config"), "config", host)
    return finding, "\n".join(details(finding))


def monitor(path: str) -> tuple[str, ...]:
    return (*PLAIN, "-chardev", f"socket,id=mon,path={path},server=on,wait=off", "-mon", "chardev=mon,mode=control")


def test_where_no_qemu_runs_all_is_well_and_the_next_step_is_told() -> None:
    finding, text = told(FRESH.read_text())
    assert finding.is_good
    assert "discover /run/qmp/*.sock finds no socket" in text
    assert "No QEMU runs here." in text
    assert ARGUMENTS.format("NAME") in text
    assert "systemctl reload" not in text, "the entry of discover is there already"


def test_a_qemu_that_runs_and_is_not_watched_is_told_with_what_it_needs() -> None:
    finding, text = told(FRESH.read_text(), PLAIN)
    assert not finding.is_good
    assert "Runs here and is not watched: pid 7 (qemu-system-x86, VM web01), user libvirt-qemu." in text
    assert ARGUMENTS.format("web01") in text


def test_a_monitor_that_nobody_needs_may_be_the_exporters() -> None:
    _, text = told(FRESH.read_text(), monitor("/srv/web01/monitor"))
    assert "              - name: web01\n                socket: /srv/web01/monitor\n" in text


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("/var/lib/libvirt/qemu/domain-1-web01/monitor.sock", "virsh edit web01"),
        ("/var/run/qemu-server/104.qmp", "qm set 104 "),
    ],
)
def test_the_manager_of_a_qemu_is_who_gives_it_a_monitor(path: str, command: str) -> None:
    _, text = told(FRESH.read_text(), monitor(path))
    assert command in text
    assert "name it in the configuration" not in text


def test_many_qemus_are_counted() -> None:
    _, text = told(FRESH.read_text(), *[PLAIN] * 8)
    assert text.count("Runs here and is not watched") == 5
    assert "And 3 more." in text


@pytest.mark.parametrize("config", ["vms:", "vms: []\ndiscover:\n", "files: [/nothing/*.yaml]"])
def test_without_an_entry_of_discover_one_is_shown(config: str) -> None:
    _, text = told(config)
    assert "            discover:\n              - glob: /run/qmp/*.sock\n" in text
    assert "systemctl reload qmp-exporter" in text


def test_a_directory_that_is_looked_through_and_is_not_there_is_named(directory: Path) -> None:
    _, text = told(json.dumps({"discover": [{"glob": f"{directory}/none/*.sock"}]}))
    assert f"finds no socket: there is no directory {directory}/none." in " ".join(text.split())
    assert f"path={directory}/none/NAME.sock," in text


@pytest.mark.parametrize(
    "path", [FRESH, ROOT / "tests" / "configs" / "good-only-vms-key.yaml"], ids=lambda path: path.stem
)
def test_diagnose_and_check_config_say_it(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["diagnose", str(path)])
    assert "No VM is watched." in capsys.readouterr().out
    assert ended.value.code in {0, 1}  # as QEMUs run on this machine or not
    with pytest.raises(SystemExit) as ended:
        main(["check-config", str(path)])
    assert ended.value.code == 0
    assert f"good, with 0 VMs; `qmp-exporter diagnose {path}` says what to do next\n" in capsys.readouterr().out
