"""The Debian package under a live systemd, of Debian 12 and 13 -> its life and the service's, from start to purge.

Each test has a machine of its own, booted in a second from a root with nothing but the package and what it depends on.
"""

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import bcrypt
import pytest

from machine import SERVICE, Machine, booted, root_of
from parts import need
from playbook import played
from qmp_exporter import __version__
from qmp_exporter.revision import of_clone
from waiting import awaited

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]  # wheels may have to be fetched

ROOT = Path(__file__).parents[2]
RELEASES = {"bookworm": "deb12", "trixie": "deb13"}
CONFIG = "/etc/qmp-exporter/config.yaml"
UP = 'qemu_up{vm="vm0001"} 1.0'
STOPPED_WITHIN = 5.0  # seconds
FLEET = 2000


# For what costs much and is the same on all of them.
on_bookworm = pytest.mark.parametrize("packages", ["bookworm"], indirect=True)


DIALLING = """
import asyncio, pathlib
from qmp_exporter.simulator import DiallingMonitor, SimulatedVm

async def main():
    async with DiallingMonitor(SimulatedVm("vm0001"), pathlib.Path("/run/qmp-exporter/dial-in.sock")):
        await asyncio.Event().wait()

asyncio.run(main())
"""
# Two QEMUs of root's, one of which starts later.
VISITED = """
import asyncio, pathlib
from qmp_exporter.simulator import Monitor, SimulatedVm

async def main():
    async with Monitor(SimulatedVm("vm0001"), pathlib.Path("/run/qemu-server/101.qmp")):
        await asyncio.sleep(15)
        async with Monitor(SimulatedVm("vm0002"), pathlib.Path("/run/qemu-server/102.qmp")):
            await asyncio.Event().wait()

asyncio.run(main())
"""
# As libvirt's socket is on Debian; polkit, which keeps all others out, is not here.
LIBVIRTD = """
import asyncio, os, pathlib, shutil, sys
sys.path.insert(0, "/opt")
from libvirtd import ANSWERS, Domain, Libvirtd

async def main():
    pathlib.Path("/proc/self/comm").write_text("libvirtd")
    os.makedirs("/run/libvirt", exist_ok=True)
    path = pathlib.Path("/run/libvirt/libvirt-sock")
    async with Libvirtd(path, Domain("vm0001", answers=ANSWERS)):
        shutil.chown(path, group="libvirt")
        path.chmod(0o660)
        await asyncio.Event().wait()

asyncio.run(main())
"""


class Packages(NamedTuple):
    release: str
    directory: Path
    current: str
    newer: str  # the same, a version later


@pytest.fixture(scope="session", params=RELEASES)
def packages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Packages:
    need("dpkg-shlibdeps")
    directory = tmp_path_factory.mktemp("packages")
    version = f"{__version__}-1~{RELEASES[request.param]}"
    current = build(request.param, directory, version)
    return Packages(request.param, directory, current.name, later(current, version).name)


def build(release: str, directory: Path, version: str) -> Path:
    # What is packed is the same at any level, and the best takes half of the time that a build takes.
    quietly("env", "DPKG_DEB_COMPRESSOR_LEVEL=1", ROOT / "deploy/debian/build", release, directory, version)
    (package,) = directory.glob(f"qmp-exporter_{version}_*.deb")
    return package


def later(package: Path, version: str) -> Path:
    """-> the same in a later version, as far as dpkg can tell"""
    unpacked = package.with_suffix(".unpacked")
    quietly("dpkg-deb", "--raw-extract", package, unpacked)
    control = unpacked / "DEBIAN/control"
    control.write_text(control.read_text().replace(f"Version: {version}", f"Version: {version}+later"))
    newer = package.with_name(package.name.replace(version, f"{version}+later"))
    quietly("dpkg-deb", "-Znone", "--build", unpacked, newer)
    return newer


def quietly(*command: str | Path) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout


@on_bookworm
def test_every_link_of_a_document_leads_to_a_file_of_the_package(packages: Packages, tmp_path: Path):
    quietly("dpkg-deb", "--extract", packages.directory / packages.current, tmp_path)
    documents = tmp_path / "usr/share/doc/qmp-exporter"
    pages = sorted(documents.rglob("*.md"))
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)\s#]+)", page.read_text())]
    ours = [(page, link) for page, link in links if not re.match("https?:|mailto:", link)]
    assert len(ours) > 30
    assert [f"{page.name}: {link}" for page, link in ours if not (page.parent / link).exists()] == []
    assert (documents / "deploy/web-config.example.yml").exists()


@pytest.fixture
def bare(packages: Packages) -> Iterator[Machine]:
    with booted(root_of(packages.release), packages.directory) as machine:
        yield machine


@pytest.fixture(scope="session")
def installed(packages: Packages) -> Iterator[Path]:
    """That Debian with the package, which takes 3 s to install: once, and not for each test."""
    with tempfile.TemporaryDirectory(prefix="installed-") as name:
        root = Path(name, packages.release)
        quietly("cp", "--archive", root_of(packages.release), root)
        with booted(root, packages.directory, volatile=False) as machine:
            machine.run("dpkg", "--install", f"/mnt/{packages.current}")
        yield root


@pytest.fixture
def machine(installed: Path, packages: Packages) -> Iterator[Machine]:
    with booted(installed, packages.directory) as machine:
        yield machine


@pytest.fixture
def offline(machine: Machine) -> Machine:
    """Without any network, as the manual of deployment shows."""
    (steps,) = steps_with("no-network.conf")
    machine.run("sh", "-euc", steps)
    return machine


@pytest.fixture
def either(request: pytest.FixtureRequest, packages: Packages) -> Machine:
    """With the network of the host on one Debian and without any on the other, so that each costs one boot."""
    chosen: Machine = request.getfixturevalue("machine" if packages.release == "bookworm" else "offline")
    return chosen


def steps_with(words: str) -> list[str]:
    """What the manual of deployment has to be typed."""
    shipped = (ROOT / "deploy/README.md").read_text()
    return [text for text in re.findall(r"```sh\n(.*?)```", shipped, re.DOTALL) if words in text]


async def simulate(machine: Machine, vms: int) -> None:
    """-> when there are VMs with monitors in /run/qmp, made by another user as QEMU would make them"""
    simulator = ("/usr/lib/qmp-exporter/bin/python3", "-I", "-m", "qmp_exporter.simulator", "--dir", "/run/qmp")
    machine.run("systemd-run", "--quiet", "--property=UMask=0007", *simulator, "--vms", str(vms))

    async def there() -> bool | None:
        return machine.run("ls", "/run/qmp").count(".sock\n") == vms or None

    await awaited(there, lambda: machine.run("ls", "/run/qmp"), deadline=60)


def watch(machine: Machine, vms: int) -> None:
    names = [f"vm{number:04}" for number in range(1, vms + 1)]
    targets = "".join(f"  - name: {name}\n    socket: /run/qmp/{name}.sock\n" for name in names)
    machine.write(CONFIG, f"poll_interval: 5s\nvms:\n{targets}")


async def shown(machine: Machine, wanted: str, times: int = 1) -> None:
    """-> when the page has that, so often"""

    async def ask() -> bool | None:
        return machine.page().count(wanted) == times or None

    await awaited(ask, machine.journal, deadline=60)


def test_installed_it_is_enabled_ready_and_scraped(bare: Machine, packages: Packages):
    machine = bare
    machine.run("dpkg", "--install", f"/mnt/{packages.current}")
    assert machine.state("ActiveState", "UnitFileState", "User") == ["active", "enabled", "qmp-exporter"]
    assert "qmp_exporter_build_info{" in machine.page()
    assert machine.run("qmp-exporter", "--version") == f"qmp-exporter {__version__} (revision {of_clone(ROOT)})\n"
    assert machine.run("systemctl", "--failed", "--quiet") == ""
    assert machine.complaints() == ""


def test_it_runs_on_its_own_libraries_alone(machine: Machine):
    program = "import sys, aiohttp, msgspec, pydantic_core, qmp_exporter as ours; print(ours.__file__, *sys.path)"
    said = machine.run("env", "PYTHONPATH=/tmp", "/usr/lib/qmp-exporter/bin/python3", "-I", "-c", program)
    assert said.startswith("/usr/lib/qmp-exporter/lib/python3.")
    assert "dist-packages" not in said
    assert "/tmp" not in said  # noqa: S108  a place that must not be looked at


def test_the_directory_of_monitors_is_there_for_its_group_alone(machine: Machine):
    assert machine.run("stat", "--format=%A %U %G", "/run/qmp") == "drwxrws--- root qmp-exporter\n"
    assert machine.run("stat", "--format=%A %U %G", "/run/qmp-exporter") == "drwxr-xr-x qmp-exporter qmp-exporter\n"


def test_another_user_is_let_into_the_directory_of_monitors_as_its_comment_says(machine: Machine):
    shipped = (ROOT / "deploy/systemd/tmpfiles.conf").read_text()
    (command,) = (line.removeprefix("#").strip() for line in shipped.splitlines() if line.startswith("#     echo"))
    machine.run("systemd-sysusers", "--inline", "u libvirt-qemu -")
    machine.run("sh", "-c", command)
    machine.run("systemd-tmpfiles", "--create", "qmp-exporter.conf", "qmp-monitors.conf")
    bind = "import os, socket; os.umask(0o007); socket.socket(socket.AF_UNIX).bind('/run/qmp/web01.sock')"
    machine.run("setpriv", "--reuid=libvirt-qemu", "--regid=libvirt-qemu", "--init-groups", "python3", "-c", bind)
    assert machine.run("stat", "--format=%A %U %G", "/run/qmp/web01.sock") == "srwxrwx--- libvirt-qemu qmp-exporter\n"


async def test_it_finds_monitors_that_come_and_reaches_them_through_its_sandbox(machine: Machine):
    await simulate(machine, 1)
    await shown(machine, UP)
    assert machine.complaints() == ""


async def test_it_does_the_same_without_any_network(offline: Machine):
    await simulate(offline, 1)
    await shown(offline, UP)
    (pid,) = offline.state("MainPID")
    interfaces = offline.run("nsenter", f"--target={pid}", "--net", "cat", "/proc/self/net/dev").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
    assert offline.complaints() == ""


async def test_what_goes_wrong_is_found_by_its_priority(machine: Machine):
    watch(machine, 1)
    machine.run("systemctl", "restart", SERVICE)

    async def warned() -> str | None:
        return machine.complaints() or None

    said = await awaited(warned, machine.journal)
    assert "level=warning" in said
    assert "vm=vm0001" in said
    assert "<" not in said
    assert "level=info" not in said


@pytest.mark.parametrize(("signal", "why"), [("STOP", "Watchdog timeout"), ("KILL", "status=9/KILL")])
async def test_a_service_that_hangs_or_crashes_is_started_again(machine: Machine, signal: str, why: str):
    machine.write(f"/etc/systemd/system/{SERVICE}.d/impatient.conf", "[Service]\nWatchdogSec=1s\nRestartSec=0\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", SERVICE)
    (before,) = machine.state("MainPID")
    machine.run("sh", "-c", f"kill -{signal} {before}")

    async def restarted() -> bool | None:
        pid, active, restarts = machine.state("MainPID", "ActiveState", "NRestarts")
        return (pid not in (before, "0") and active == "active" and restarts == "1") or None

    await awaited(restarted, machine.journal, deadline=60)
    assert why in machine.journal()
    assert "qmp_exporter_build_info{" in machine.page()


def test_a_configuration_it_refuses_is_named_and_not_tried_again(machine: Machine):
    machine.write(CONFIG, "vms:\n  - name: web01\n")
    status, _ = machine.try_to("systemctl", "restart", SERVICE)
    assert status != 0
    assert machine.state("ActiveState", "NRestarts", "ExecMainStatus") == ["failed", "0", "2"]
    assert f"{CONFIG}:2:" in machine.journal()


@on_bookworm
async def test_a_fleet_fits_its_limits_and_is_left_within_five_seconds(machine: Machine, figure):
    await simulate(machine, FLEET)
    watch(machine, FLEET)
    machine.run("systemctl", "restart", SERVICE)
    await shown(machine, "} 1.0\nqemu_up{", times=FLEET - 1)
    pid, most = machine.state("MainPID", "MemoryMax")
    peak = machine.run("sed", "-n", r"s/^VmHWM:\s*\([0-9]*\) kB$/\1/p", f"/proc/{pid}/status")
    began = time.monotonic()
    machine.run("systemctl", "stop", SERVICE)
    took = time.monotonic() - began
    figure(f"{FLEET} VMs: {int(peak) >> 10} MiB of {int(most) >> 20}, stopped in {took:.1f} s")
    assert machine.state("Result", "ExecMainStatus") == ["success", "0"]
    assert machine.complaints() == ""
    assert took < STOPPED_WITHIN
    assert int(peak) << 10 < int(most)


async def test_a_reload_takes_what_is_new_without_a_new_process(either: Machine):
    machine = either
    await simulate(machine, 1)
    (before,) = machine.state("MainPID")
    watch(machine, 1)
    machine.run("systemctl", "reload", SERVICE)
    await shown(machine, UP)
    assert machine.state("ActiveState", "MainPID") == ["active", before]
    assert machine.complaints() == ""


async def test_a_reload_of_a_wrong_configuration_fails_says_why_and_changes_nothing(machine: Machine):
    await simulate(machine, 1)
    await shown(machine, UP)
    machine.write(CONFIG, "vms:\n  - name: web01\n")
    status, _ = machine.try_to("systemctl", "reload", SERVICE)
    assert status != 0
    assert machine.state("ActiveState", "NRestarts") == ["active", "0"]
    assert f"{CONFIG}:2:" in machine.complaints()
    await shown(machine, "qmp_exporter_config_last_reload_successful 0.0")
    assert UP in machine.page()


async def test_a_reload_to_a_socket_that_cannot_be_made_fails_and_says_why_until_it_can(machine: Machine):
    """The unit's view of the file system is read-only; a check from outside of it sees that, too."""
    machine.write(CONFIG, "listen: [{socket: /srv/dial-in.sock}]\n")
    machine.run("chmod", "777", "/srv")
    assert machine.try_to("systemctl", "reload", SERVICE)[0] != 0
    why = "listen /srv/dial-in.sock: /srv is read-only for the exporter (ReadWritePaths=/srv in a drop-in of the unit"
    assert why in machine.journal()
    assert "/srv is read-only" in machine.complaints()
    await shown(machine, 'qmp_exporter_source_up{source="listen /srv/dial-in.sock"} 0.0')
    status, said = machine.try_to("qmp-exporter", "check-config", CONFIG)
    assert status == 2, said
    assert why in said

    async def told() -> bool | None:
        return "listen /srv/dial-in.sock: /srv is read-only" in machine.state("StatusText")[0] or None

    await awaited(told, machine.journal)
    machine.write(CONFIG, "listen: [{socket: /run/qmp-exporter/dial-in.sock}]\n")
    machine.run("systemctl", "reload", SERVICE)
    await shown(machine, 'qmp_exporter_source_up{source="listen /run/qmp-exporter/dial-in.sock"} 1.0')
    assert machine.page("/-/ready") == "ready\n"
    machine.run("qmp-exporter", "check-config", "--strict", CONFIG)


async def test_vms_of_another_user_dial_in_by_their_group_as_the_page_about_libvirt_says(either: Machine):
    machine = either
    page = (ROOT / "docs/quickstart-libvirt.md").read_text()
    (config,) = (text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "listen:" in text)
    (commands,) = (text for text in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "dial-in.conf" in text)
    machine.run("systemd-sysusers", "--inline", "g kvm -", "u libvirt-qemu -", "m libvirt-qemu kvm")
    machine.write(CONFIG, config)
    machine.run("sh", "-euc", commands)
    assert machine.run("stat", "--format=%A %U %G", "/run/qmp-exporter/dial-in.sock") == (
        "srw-rw---- qmp-exporter kvm\n"
    )
    simulator = ("/usr/lib/qmp-exporter/bin/python3", "-I", "-c", DIALLING)
    machine.run("systemd-run", "--quiet", "--uid=libvirt-qemu", "--property=SupplementaryGroups=kvm", *simulator)
    await shown(machine, UP)
    assert machine.complaints() == ""


async def test_the_domains_of_a_libvirt_are_heard_inside_the_unit_as_the_page_about_libvirt_says(either: Machine):
    machine = either
    page = (ROOT / "docs/quickstart-libvirt.md").read_text()
    config, with_commands = (text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "libvirt:" in text)
    (steps,) = (text for text in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "libvirt.conf" in text)
    machine.run("systemd-sysusers", "--inline", "g libvirt -")
    machine.run("mkdir", "-p", "/run/libvirt")
    machine.write("/opt/libvirtd.py", (ROOT / "tests/daemon/libvirtd.py").read_text())
    machine.write(CONFIG, config)
    machine.run("systemctl", "restart", SERVICE)
    hidden = 'qmp_exporter_source_up{source="libvirt qemu:///system"} 0.0'
    await shown(machine, hidden)
    machine.run("systemd-run", "--quiet", "--unit=fake-libvirtd", "/usr/bin/python3", "-c", LIBVIRTD)
    machine.run("sh", "-c", "until test -S /run/libvirt/libvirt-sock; do sleep 0.1; done")
    assert "the unit hides /run/libvirt from the exporter" in machine.try_to("qmp-exporter", "diagnose", CONFIG)[1]
    assert "Domains that run: 1." in machine.run("sh", "-euc", steps)
    await shown(machine, UP)
    assert hidden not in machine.page()
    machine.write(CONFIG, with_commands)
    machine.run("systemctl", "reload", SERVICE)
    await shown(machine, 'qemu_vm_info{name="web01",uuid="",version="7.2.22",vm="vm0001"} 1.0')
    machine.run("systemctl", "stop", "fake-libvirtd")  # its socket stays, as that of systemd does
    await shown(machine, 'qemu_monitor_state{state="refused",vm="vm0001"} 1.0')

    async def told() -> bool | None:
        return "no daemon runs at /run/libvirt/libvirt-sock" in machine.state("StatusText")[0] or None

    await awaited(told, machine.journal)


async def test_the_monitors_of_proxmox_are_visited_inside_the_unit_as_the_page_about_proxmox_says(either: Machine):
    machine = either
    page = (ROOT / "docs/quickstart-proxmox.md").read_text()
    (config,) = (text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "visit:" in text)
    (steps,) = (text for text in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "proxmox.conf" in text)
    for path, text in re.findall(r"```ini\n# (/etc/systemd/system/qmp-visits\S+)\n(.*?)```", page, re.DOTALL):
        machine.write(path, text)
    machine.write(CONFIG, config)
    simulator = ("/usr/lib/qmp-exporter/bin/python3", "-I", "-c", VISITED)
    machine.run("mkdir", "/run/qemu-server")
    machine.run("systemd-run", "--quiet", "--property=UMask=0027", *simulator)
    machine.run("sh", "-c", "until test -S /run/qemu-server/101.qmp; do sleep 0.1; done")
    assert "1 good" in machine.run("sh", "-euc", steps)
    await shown(machine, 'qemu_monitor_state{state="visited",vm="vm0001"} 1.0')
    machine.run("sh", "-c", "until test -S /run/qemu-server/102.qmp; do sleep 0.1; done")
    await shown(machine, 'qemu_monitor_state{state="visited",vm="vm0002"} 1.0')
    assert machine.complaints() == ""


async def test_the_metrics_are_written_for_node_exporter_as_the_manual_of_deployment_shows(machine: Machine):
    (steps,) = steps_with("--output.textfile")
    await simulate(machine, 1)
    machine.run("mkdir", "-p", "/var/lib/prometheus/node-exporter")
    machine.run("sh", "-euc", steps)
    file = "/var/lib/prometheus/node-exporter/qemu.prom"
    machine.run("sh", "-c", f"until grep -qF '{UP}' {file}; do sleep 0.1; done")
    assert machine.run("stat", "--format=%A", file) == "-rw-r--r--\n"
    assert machine.try_to(*machine.asking("/metrics"))[0] != 0
    machine.run("systemctl", "stop", SERVICE)
    assert machine.try_to("test", "-e", file)[0] != 0
    assert machine.complaints() == ""


def test_the_package_as_it_comes_says_what_to_do_next(machine: Machine):
    machine.run("qmp-exporter", "check-config", "--strict", CONFIG)
    said = machine.run("qmp-exporter", "diagnose", CONFIG)
    assert "No VM is watched." in said
    assert "discover /run/qmp/*.sock finds no socket." in said
    assert "-chardev socket,id=exporter,path=/run/qmp/NAME.sock" in said
    machine.run("test", "-r", said.rstrip().rpartition("\n")[2].strip())


def test_the_socket_unit_holds_the_port_while_the_service_is_away(machine: Machine):
    machine.write("/etc/default/qmp-exporter", "ARGS=--web.systemd-socket\n")
    machine.run("systemctl", "stop", SERVICE)
    machine.run("systemctl", "enable", "--now", "qmp-exporter.socket")
    assert machine.state("ActiveState") == ["inactive"]
    assert "qmp_exporter_build_info{" in machine.page()
    assert machine.state("ActiveState") == ["active"]
    assert machine.complaints() == ""


def test_secrets_of_root_reach_it_as_credentials_as_the_manual_of_deployment_shows(either: Machine):
    machine = either
    shipped = (ROOT / "deploy/README.md").read_text()
    (drop_in,) = re.findall(r"```ini\n# /etc/(\S+)\n(.*?)```", shipped, re.DOTALL)
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    machine.write("/etc/qmp-exporter/web-config.yml", f"basic_auth_users:\n  prometheus: {hashed}\n")
    machine.run("chmod", "600", "/etc/qmp-exporter/web-config.yml")
    machine.write(f"/etc/{drop_in[0]}", drop_in[1])
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", SERVICE)
    assert "HTTP Error 401" in machine.try_to(*machine.asking("/metrics"))[1]
    assert machine.complaints() == ""


def test_an_upgrade_keeps_what_was_edited_and_starts_the_new_version(machine: Machine, packages: Packages):
    machine.write(CONFIG, "poll_interval: 30s\nvms: []\n")
    machine.write("/etc/default/qmp-exporter", 'ARGS="--log.level=debug"\n')
    (before,) = machine.state("MainPID")
    machine.run("dpkg", "--install", f"/mnt/{packages.newer}")
    machine.run(
        "systemctl", "start", SERVICE
    )  # waits for the job of dpkg, which on a slow host gives up waiting for it
    active, after, restarts = machine.state("ActiveState", "MainPID", "NRestarts")
    assert (active, restarts) == ("active", "0"), machine.journal()
    assert after != before
    assert machine.run("cat", CONFIG) == "poll_interval: 30s\nvms: []\n"
    assert "--log.level=debug" in machine.run("cat", f"/proc/{after}/cmdline").split("\0")
    assert machine.run("find", "/etc", "-name", "*.dpkg-*") == ""
    assert machine.complaints() == ""


def test_an_upgrade_starts_nothing_that_the_administrator_has_stopped_for_good(machine: Machine, packages: Packages):
    machine.run("systemctl", "disable", "--now", SERVICE)
    machine.run("dpkg", "--install", f"/mnt/{packages.newer}")
    assert machine.state("ActiveState", "UnitFileState") == ["inactive", "disabled"]


def test_removed_it_leaves_its_configuration_and_comes_back_with_it(machine: Machine, packages: Packages):
    machine.write(CONFIG, "poll_interval: 30s\nvms: []\n")
    machine.run("dpkg", "--remove", "qmp-exporter")
    assert machine.state("ActiveState", "MainPID") == ["inactive", "0"]
    assert machine.run("cat", CONFIG) == "poll_interval: 30s\nvms: []\n"
    assert machine.try_to("test", "-e", "/usr/lib/qmp-exporter")[0] == 1
    machine.run("dpkg", "--install", f"/mnt/{packages.current}")
    assert machine.state("ActiveState", "UnitFileState") == ["active", "enabled"]
    assert machine.run("cat", CONFIG) == "poll_interval: 30s\nvms: []\n"


def test_purged_it_leaves_nothing_but_its_user(bare: Machine, packages: Packages):
    everything = (
        "sh",
        "-c",
        "find / -xdev -path /var/log -prune -o -path /var/lib/dpkg -prune -o -path /tmp -prune -o -print",
    )
    before = set(bare.run(*everything).splitlines())
    bare.run("dpkg", "--install", f"/mnt/{packages.current}")
    bare.write("/etc/qmp-exporter/web-config.yml", "{}")
    bare.run("dpkg", "--purge", "qmp-exporter")
    left = {
        path for path in set(bare.run(*everything).splitlines()) - before if not path.startswith(("/run", "/var/cache"))
    }
    assert left <= {"/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/.pwd.lock"}
    assert bare.try_to("test", "-e", "/run/qmp")[0] == 1
    assert bare.state("LoadState") == ["not-found"]
    assert bare.run("systemctl", "--failed", "--quiet") == ""
    assert "qmp-exporter" in bare.run("getent", "passwd", "qmp-exporter")


async def test_a_purge_leaves_the_monitors_of_running_vms(machine: Machine):
    await simulate(machine, 1)
    machine.run("dpkg", "--purge", "qmp-exporter")
    assert machine.run("ls", "/run/qmp") == "vm0001.sock\n"


def test_the_package_has_no_fault_that_lintian_knows(packages: Packages):
    quietly(need("lintian"), "--allow-root", "--fail-on=error,warning", packages.directory / packages.current)


@on_bookworm
def test_the_same_commit_gives_the_same_package(packages: Packages, tmp_path: Path):
    first = packages.directory / packages.current
    again = build(packages.release, tmp_path, first.name.split("_")[1])
    assert again.read_bytes() == first.read_bytes()


@on_bookworm
async def test_the_role_of_ansible_sets_a_host_up_and_changes_nothing_the_second_time(
    bare: Machine, packages: Packages, tmp_path: Path
):
    wanted = {
        "qmp_exporter_deb": str(packages.directory / packages.current),
        "qmp_exporter_arguments": ["--web.listen-address=127.0.0.1:10065", "--log.format=json"],
        "qmp_exporter_drop_ins": ["libvirt"],
        "qmp_exporter_targets": {"tenants": [{"name": "web01", "socket": "/run/qmp/web01.sock"}]},
    }
    bare.run("systemd-sysusers", "--inline", "g libvirt -")  # as libvirt makes it
    said = played(bare, tmp_path, **wanted)
    assert re.search(r"ok=\d+ +changed=[1-9]", said), said
    assert bare.state("ActiveState", "SubState") == ["active", "running"]
    assert "lib/qmp-exporter/libvirt.conf" in bare.run(
        "readlink", "/etc/systemd/system/qmp-exporter.service.d/libvirt.conf"
    )
    page = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:10065/metrics').read().decode())"

    async def watched() -> bool | None:
        return 'qemu_up{vm="web01"} 0.0' in bare.run("python3", "-c", page) or None

    await awaited(watched, bare.journal, deadline=30)
    assert '"msg": "listening"' in bare.journal()
    again = played(bare, tmp_path, **wanted)
    assert re.search(r"changed=0 ", again), again
    with pytest.raises(AssertionError, match="wanted a list"):
        played(bare, tmp_path, **{**wanted, "qmp_exporter_config": {"vms": "web01"}})
    assert bare.state("ActiveState") == ["active"]
