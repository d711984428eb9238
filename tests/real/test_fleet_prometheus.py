"""deploy/fleet with real parts: two exporters, an agent for each, and one central Prometheus that judges all of it."""

import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from exporter import Vm, exporting, free_port
from prometheus import BINARY, OFTEN, Prometheus, started
from qmp_exporter.simulator import Monitor, SimulatedVm

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("prometheus_server")]

DEPLOY = Path(__file__).parents[2] / "deploy"


def fleet(name: str) -> dict:
    return yaml.safe_load((DEPLOY / "fleet" / name).read_text())


def agent(directory: Path, site: str, target: str, central: str) -> Path:
    """The configuration of deploy/, for this target and this central store -> its file"""
    config = fleet("agent.yml")
    config["global"] = {"scrape_interval": OFTEN, "scrape_timeout": OFTEN, "external_labels": {"site": site}}
    config["remote_write"][0]["url"] = f"http://{central}/api/v1/write"
    targets = yaml.safe_load((DEPLOY / "fleet" / "targets" / "hypervisors.yml").read_text())
    targets[0]["targets"] = [target]
    (directory / "targets").mkdir(parents=True)
    (directory / "targets" / "hypervisors.yml").write_text(yaml.safe_dump(targets))
    (directory / "agent.yml").write_text(yaml.safe_dump(config))
    return directory / "agent.yml"


def central(directory: Path) -> Path:
    config = fleet("central.yml")
    config["global"] = {"evaluation_interval": OFTEN}
    config["rule_files"] = [str(DEPLOY / "fleet" / name) for name in config["rule_files"]]
    config.pop("alerting")
    directory.mkdir()
    (directory / "central.yml").write_text(yaml.safe_dump(config))
    return directory / "central.yml"


def agent_flag() -> str:
    """As this Prometheus calls it."""
    said = subprocess.run([BINARY, "--help"], capture_output=True, text=True, check=False)
    return "--agent" if "--[no-]agent" in said.stdout + said.stderr else "--enable-feature=agent"


async def test_two_hosts_by_two_agents_are_judged_in_one_place(short_path):
    vms = {"north": SimulatedVm("web01"), "south": SimulatedVm("db01")}
    addresses = {site: f"127.0.0.1:{free_port()}" for site in vms}
    store, flag = f"127.0.0.1:{free_port()}", agent_flag()
    for site in vms:
        (short_path / f"of-{site}").mkdir()
    command = (
        BINARY,
        f"--config.file={central(short_path / 'c')}",
        f"--storage.tsdb.path={short_path / 'tsdb'}",
        "--web.enable-remote-write-receiver",
    )
    async with (
        Monitor(vms["north"], short_path / "north.sock"),
        Monitor(vms["south"], short_path / "south.sock"),
        exporting(short_path / "of-north", Vm("web01", short_path / "north.sock"), address=addresses["north"]),
        exporting(short_path / "of-south", Vm("db01", short_path / "south.sock"), address=addresses["south"]),
        started(*command, address=store, log=short_path / "central.log") as client,
        started(
            BINARY, flag, f"--config.file={agent(short_path / 'n', 'north', addresses['north'], store)}",
            f"--storage.agent.path={short_path / 'n' / 'wal'}", address=f"127.0.0.1:{free_port()}",
            log=short_path / "north.log",
        ),
        started(
            BINARY, flag, f"--config.file={agent(short_path / 's', 'south', addresses['south'], store)}",
            f"--storage.agent.path={short_path / 's' / 'wal'}", address=f"127.0.0.1:{free_port()}",
            log=short_path / "south.log",
        ),
    ):  # fmt: skip
        prometheus = Prometheus(client)
        for site, vm in vms.items():
            ((labels, _),) = await prometheus.finds(f'qemu_up{{site="{site}"}} == 1')
            assert (labels["vm"], labels["instance"], labels["rack"]) == (vm.name, addresses[site], "a1")
        vms["south"].io_error("virtio-disk1", "write", "stop", nospace=True)
        ((labels, _),) = await prometheus.finds('ALERTS{alertname="QEMUVMStoppedOnIOError",alertstate="firing"}')
        assert (labels["site"], labels["vm"], labels["instance"]) == ("south", "db01", addresses["south"])
        async with above(short_path, store) as federation:
            found = await federation.finds("instance:qemu_vms:count == 1")
            assert {labels["instance"] for labels, _ in found} <= set(addresses.values())
            await federation.finds('ALERTS{alertname="QEMUVMStoppedOnIOError"}')
            assert await federation.query("qemu_up") == []


@contextlib.asynccontextmanager
async def above(directory: Path, shard: str) -> AsyncIterator[Prometheus]:
    """-> one that has the sums of a shard"""
    config = fleet("federate.yml")
    (job,) = config["scrape_configs"]
    job |= {"scrape_interval": OFTEN, "scrape_timeout": OFTEN, "static_configs": [{"targets": [shard]}]}
    (directory / "federate.yml").write_text(yaml.safe_dump(config))
    command = (BINARY, f"--config.file={directory / 'federate.yml'}", f"--storage.tsdb.path={directory / 'federate'}")
    async with started(*command, address=f"127.0.0.1:{free_port()}", log=directory / "federate.log") as client:
        yield Prometheus(client)


def test_each_hypervisor_is_in_one_of_the_four_shards(tmp_path):
    hosts = {f"hypervisor{number:02}:10065" for number in range(40)}
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "hypervisors.yml").write_text(yaml.safe_dump([{"targets": sorted(hosts)}]))
    kept = []
    for shard in "0123":
        config = fleet("shard.yml")
        config.pop("rule_files")
        config["scrape_configs"][0]["relabel_configs"][1]["regex"] = shard
        (tmp_path / "shard.yml").write_text(yaml.safe_dump(config))
        command = ("promtool", "check", "service-discovery", "--timeout=2s", "shard.yml", "qmp-exporter")
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        kept += [one["labels"]["instance"] for one in json.loads(said) if one["labels"]]
    assert sorted(kept) == sorted(hosts)
