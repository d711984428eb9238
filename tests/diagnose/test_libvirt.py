"""An entry of `libvirt` -> what `diagnose` and `check-config` say of it."""

import json
from pathlib import Path

import pytest

from libvirtd import EVENTS, QEMU, Domain, Libvirtd
from parts import need_root
from qmp_exporter.config import Libvirt, parse
from qmp_exporter.daemon.libvirt import daemon_socket
from qmp_exporter.diagnose import libvirt
from qmp_exporter.diagnose.access import User
from qmp_exporter.diagnose.host import Host
from qmp_exporter.diagnose.libvirt import examine_libvirt, obstacles

ROOT = User("root", 0, 0, frozenset({0}), "as a test says")
NOBODY = User("nobody", 65534, 65534, frozenset({65534}), "as a test says")


def entry(path: Path, **more: object) -> Libvirt:
    return parse(json.dumps({"libvirt": [{"socket": str(path), **more}]}), "config").libvirt[0]


def lets(path: Path, mode: int) -> None:
    """Anybody may come as far as this socket."""
    path.chmod(mode)
    path.parent.chmod(0o755)


async def test_domains_that_run_are_named_and_their_qemus_are_not_asked(directory: Path) -> None:
    async with Libvirtd(directory / "api.sock", Domain("web01"), Domain("db01", id=2)) as daemon:
        finding = await examine_libvirt(entry(daemon.path, commands=True), Host(), ROOT)
    assert (finding.verdict, finding.problem, finding.seen) == ("good", "Domains that run: 2.", ("db01, web01.",))
    assert "ask" not in daemon.calls


async def test_a_daemon_that_is_not_there_is_told(directory: Path) -> None:
    finding = await examine_libvirt(entry(directory / "api.sock"), Host(), ROOT)
    assert finding.verdict == "missing"
    assert finding.seen == ("no socket there.", f"there is no socket {directory}/api.sock.")
    assert "  systemctl status libvirtd virtqemud" in finding.fix


async def test_what_the_daemon_refuses_is_told_with_its_own_words(directory: Path) -> None:
    async with Libvirtd(directory / "libvirt-sock-ro", Domain("web01")) as daemon:
        daemon.errors = {(QEMU, EVENTS): (29, "operation forbidden for read only access")}
        finding = await examine_libvirt(entry(daemon.path), Host(), ROOT)
    assert finding.verdict == "denied"
    assert "is for reading only" in finding.seen[0]
    assert "operation forbidden for read only access" in finding.seen[0]


async def test_a_user_outside_of_the_group_is_told_how_to_become_a_member(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_root()
    monkeypatch.setattr(libvirt, "GROUP", "adm")
    async with Libvirtd(directory / "api.sock", Domain("web01")) as daemon:
        lets(daemon.path, 0o666)
        finding = await examine_libvirt(entry(daemon.path), Host(), NOBODY)
        assert finding.verdict == "denied"
        assert "is no member of the group adm (SupplementaryGroups=adm" in finding.seen[0]
        member = NOBODY._replace(groups=NOBODY.groups | {4})
        assert (await examine_libvirt(entry(daemon.path), Host(), member)).verdict == "good"


async def test_a_socket_that_the_user_may_not_open_is_told(directory: Path) -> None:
    need_root()
    async with Libvirtd(directory / "api.sock") as daemon:
        lets(daemon.path, 0o600)
        ((certain, why),) = obstacles(entry(daemon.path), Host(), NOBODY)
    assert certain
    assert "may not connect (w)" in why


def test_a_daemon_that_systemd_would_start_is_not_started(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_socket, "SYSTEMD", directory)  # as on a host that systemd has booted
    monkeypatch.setattr(daemon_socket, "DAEMONS", {"api.sock": b"no-such-program"})
    assert not daemon_socket.is_running(f"{directory}/api.sock")
    monkeypatch.setattr(daemon_socket, "DAEMONS", {"api.sock": Path("/proc/self/comm").read_bytes().strip()})
    assert daemon_socket.is_running(f"{directory}/api.sock")
    assert daemon_socket.is_running(f"{directory}/api.sock-ro")


def test_a_uri_has_its_sockets_and_the_daemon_that_runs_is_preferred(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    (directory / "libvirt").mkdir()
    with pytest.raises(FileNotFoundError):
        daemon_socket.find("qemu:///session")
    modular, whole = (directory / "libvirt" / name for name in ("virtqemud-sock", "libvirt-sock"))
    whole.touch()
    assert daemon_socket.find("qemu:///session") == str(whole)
    modular.touch()
    monkeypatch.setattr(daemon_socket, "SYSTEMD", directory / "nowhere")
    assert daemon_socket.find("qemu:///session") == str(modular)
    monkeypatch.setattr(daemon_socket, "is_running", lambda path: path == str(whole))
    assert daemon_socket.find("qemu:///session") == str(whole)


def test_system_is_the_sockets_of_the_host() -> None:
    assert daemon_socket.candidates("qemu:///system") == ["/run/libvirt/virtqemud-sock", "/run/libvirt/libvirt-sock"]
