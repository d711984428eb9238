"""The unit and its companions → what systemd says about them, on a machine where the exporter is not installed."""

import re
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def unit(deploy: Path, tmp_path: Path) -> Path:
    """Give a copy whose program exists here, for verify wants one that it can start."""
    text = (deploy / "systemd" / "qmp-exporter.service").read_text()
    assert text.count("=/usr/bin/qmp-exporter ") == 2  # ExecStart and ExecReload
    program = shutil.which("true")
    copy = tmp_path / "qmp-exporter.service"
    copy.write_text(text.replace("=/usr/bin/qmp-exporter ", f"={program} "))
    return copy


def test_systemd_has_nothing_to_say_against_the_unit(systemd_analyze, unit: Path):
    assert systemd_analyze("verify", "--man=no", unit) == ""


def test_systemd_has_nothing_to_say_against_the_port_that_it_opens(systemd_analyze, deploy: Path, unit: Path):
    socket = unit.with_suffix(".socket")
    socket.write_text((deploy / "systemd" / "qmp-exporter.socket").read_text())
    assert systemd_analyze("verify", "--man=no", socket) == ""


def test_the_unit_is_exposed_by_1_5_of_10_at_most(systemd_analyze, unit: Path):
    report = systemd_analyze("security", "--offline=true", "--threshold=15", "--no-pager", unit)
    assert re.search(r"Overall exposure level for qmp-exporter.service: [01]\.\d", report), report


def test_without_a_network_it_is_exposed_by_0_8_of_10_at_most(systemd_analyze, deploy: Path, unit: Path):
    drop_in = (deploy / "systemd" / "no-network.conf").read_text().partition("[Service]\n")[2]
    unit.write_text(unit.read_text().replace("[Install]", f"{drop_in}\n[Install]"))
    report = systemd_analyze("security", "--offline=true", "--threshold=8", "--no-pager", unit)
    assert re.search(r"Overall exposure level for qmp-exporter.service: 0\.\d", report), report


def test_the_exporter_is_not_restarted_over_a_configuration_it_refuses(deploy: Path):
    assert "RestartPreventExitStatus=2\n" in (deploy / "systemd" / "qmp-exporter.service").read_text()


def test_the_user_of_the_unit_is_the_one_that_is_made(deploy: Path):
    assert "User=qmp-exporter\nGroup=qmp-exporter\n" in (deploy / "systemd" / "qmp-exporter.service").read_text()
    assert "\nu qmp-exporter - " in (deploy / "systemd" / "sysusers.conf").read_text()


def test_the_directory_of_sockets_hands_its_group_on_and_shows_nothing_to_others(deploy: Path):
    lines = (deploy / "systemd" / "tmpfiles.conf").read_text().splitlines()
    (directory,) = (line for line in lines if not line.startswith("#") and line)
    assert directory == "d /run/qmp 2770 root qmp-exporter -"


@pytest.mark.parametrize(("name", "opens"), [("libvirt", "-/run/libvirt"), ("proxmox", "-/run/qemu-server")])
def test_a_drop_in_opens_one_directory_and_nothing_else(deploy: Path, unit: Path, name: str, opens: str):
    hidden, still = (
        {
            path
            for line in re.findall("^InaccessiblePaths=(.*)$", file.read_text(), re.MULTILINE)
            for path in line.split()
        }
        for file in (unit, deploy / "systemd" / f"{name}.conf")
    )
    assert hidden - still == {opens}
    assert still < hidden
