"""How much is measured: enough for numbers, or just enough to see that it works."""

from typing import NamedTuple


class Scale(NamedTuple):
    repeats: int
    events: int  # of a run of ours
    events_stock: int  # of a run of those that take a minute for a million
    events_long: int  # of the run that watches the memory
    sockets: int
    settle: int  # seconds until the exported lag has forgotten how the exporter started
    flood: int  # seconds of each flood
    rates: tuple[int, ...]  # events a second; 0: as fast as they are read
    rates_crowd: tuple[int, ...]  # with many VMs beside
    rates_naive: tuple[int, ...]
    page_vms: int
    fleets: tuple[int, ...]
    fleets_naive: tuple[int, ...]
    idle: float  # seconds
    scrapes: int
    scrapes_naive: int  # of those that can take ten seconds
    chain: int  # images of a disk
    chain_seconds: int
    domains: int  # of a libvirt
    relayed: int  # events through libvirt
    watched: int  # seconds
    attacks: int  # how many of them
    soak: int  # minutes
    minute: int  # seconds
    quarter: int  # seconds; four of them make the time for which a VM is watched


FULL = Scale(
    repeats=3,
    events=600_000,
    events_stock=40_000,
    events_long=5_000_000,
    sockets=500,
    settle=16,
    flood=5,
    rates=(1_000, 10_000, 100_000, 0),
    rates_crowd=(10_000, 0),
    rates_naive=(1_000, 10_000, 0),
    page_vms=2000,
    fleets=(10, 100, 500, 1000, 2000),
    fleets_naive=(10, 100, 500, 1000),
    idle=30.0,
    scrapes=10,
    scrapes_naive=3,
    chain=200,
    chain_seconds=300,
    domains=27,
    relayed=1_000_000,
    watched=60,
    attacks=7,
    soak=30,
    minute=60,
    quarter=15,
)

SMOKE = Scale(
    repeats=1,
    events=5_000,
    events_stock=1_000,
    events_long=10_000,
    sockets=3,
    settle=0,
    flood=1,
    rates=(1_000, 0),
    rates_crowd=(0,),
    rates_naive=(1_000,),
    page_vms=5,
    fleets=(3,),
    fleets_naive=(3,),
    idle=0.5,
    scrapes=2,
    scrapes_naive=2,
    chain=3,
    chain_seconds=2,
    domains=2,
    relayed=4_000,
    watched=2,
    attacks=2,
    soak=2,
    minute=1,
    quarter=1,
)
