"""A runbook for each alert -> what it has to tell, and whether what it says to type is taken."""

import re
import subprocess
from pathlib import Path

import pytest

from parts import need
from qmp_exporter.alerting.runbook import pages, runbook
from qmp_exporter.catalog.troubles import TROUBLES

ROOT = Path(__file__).parents[2]
BODIES = ROOT / "qmp_exporter" / "alerting" / "runbooks"
MANAGERS = ("plain QEMU", "libvirt", "Proxmox VE")
NAMES = [trouble.name for trouble in TROUBLES]
# What a page is to know beside its commands: those of virsh with their options.
VIRSH = re.compile(r"`virsh ([a-z-]+)((?: [^`]*)?)`")


def test_there_is_one_for_each_alert_and_no_other():
    assert sorted(path.stem for path in BODIES.iterdir()) == sorted(NAMES)


def test_those_of_the_documentation_are_made_of_them():
    docs = ROOT / "docs" / "runbooks"
    assert {path.name: path.read_text() for path in docs.iterdir()} == pages(), "make docs"


@pytest.mark.parametrize("name", NAMES)
def test_it_tells_what_it_means_how_to_find_the_reason_and_what_to_do_with_each_manager(name):
    text = runbook(name)
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == ["Impact", "Diagnosis", "Mitigation"]
    assert "{{" not in text
    assert "$" not in text
    if name.startswith("QEMU") and name not in ABOUT_HOSTS:
        assert [manager for manager in MANAGERS if manager not in text] == []


# Where the same is to be done whoever manages the VM.
ABOUT_HOSTS = {"QEMUMonitorHung", "QEMUVMCrashLoop"}


def test_of_a_name_that_there_is_not_there_is_none():
    with pytest.raises(KeyError):
        runbook("QEMUVMDances")


@pytest.mark.real
def test_each_command_of_virsh_is_one_and_has_the_options_that_are_named():
    said = {name: VIRSH.findall(runbook(name)) for name in NAMES}
    wrong = []
    for name, commands in said.items():
        for command, arguments in commands:
            options = re.findall(r"--[a-z-]+", arguments)
            known = help_of(command)
            wrong += [f"{name}: virsh {command}"] if not known else []
            wrong += [f"{name}: virsh {command} {option}" for option in options if option not in known]
    assert sum(map(len, said.values())) > 30
    assert wrong == []


def help_of(command: str) -> str:
    done = subprocess.run([need("virsh"), "help", command], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""
