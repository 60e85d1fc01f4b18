"""A project's state on a real host, for tests of `LinuxHost` itself: without manifest, allocation or engine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.errors import NetapplyError
from reconciler.host import Observation, Scope
from reconciler.host.linux import LinuxHost
from reconciler.networks import SandboxRef
from reconciler.plan import Plan, diff
from reconciler.resources import Address, Key, Link, Netns, Peer, Resource, Route, State, Sysctl, state

PROJECT = "shop"

RESOURCES: tuple[Resource, ...] = (
    Netns("web", "netns:web"),
    Netns("db", "netns:db"),
    Sysctl("net.ipv4.ip_forward", "1"),
    Link("front", "bridge", "", "shop-front", mtu=1400, mac="02:00:00:00:00:01", ipv6=False),
    Address("front", "10.20.0.1/24"),
    Link(
        "web/front",
        "veth",
        "",
        "veweb",
        mtu=1400,
        master="front",
        ipv6=False,
        port={"isolated": True, "hairpin": False},
        peer=Peer("web", "eth0", mtu=1400, mac="02:00:00:00:00:02", ipv6=True),
        sysctls={"ipv4.conf.rp_filter": "2", "ipv6.conf.accept_ra": "0"},
        tags=("protect",),
    ),
    Link(
        "db/front",
        "veth",
        "",
        "vedb",
        mtu=1400,
        master="front",
        ipv6=False,
        port={"isolated": False, "hairpin": False},
        peer=Peer("db", "eth0", mtu=1400, mac="02:00:00:00:00:03", ipv6=False),
    ),
    Link(
        "db/lan",
        "macvlan",
        "db",
        "eth1",
        mtu=1500,
        mac="02:00:00:00:00:04",
        parent="/uplink",
        options={"mode": "private", "bc_queue_len": 2000},
        ipv6=True,
    ),
    Address("web/front", "10.20.0.10/24"),
    Address("web/front", "fd00:20::a/64"),
    Address("db/front", "10.20.0.11/24"),
    Address("db/front", "10.20.0.12/24"),
    Address("db/lan", "192.168.5.2/24"),
    Route("web", "0.0.0.0/0", "10.20.0.1", "web/front"),
    Route("web", "::/0", "fd00:20::1", "web/front", 1024),
    Route("db", "0.0.0.0/0", "10.20.0.1", "db/front", 5),
    Route("db", "10.98.0.0/16", None, "db/lan"),
    Route("db", "10.99.0.0/16", None, None, 7, "blackhole"),
    Route("db", "fd99::/48", None, None, 1024, "unreachable"),
)
"""One of everything: two sandboxes, a bridge with two endpoints, a macvlan on the link "uplink", each type of route."""

SANDBOXES = {name: SandboxRef("netns", name, create=True) for name in ("web", "db")}


@dataclass
class World:
    """A host, and what the project wants of it."""

    trap: Callable[[str], None] | None = None
    project: str = PROJECT
    sandboxes: Mapping[str, SandboxRef] = field(default_factory=lambda: SANDBOXES)

    def __post_init__(self) -> None:
        self.host = LinuxHost(self.trap)

    def observe(self) -> Observation:
        return self.host.observe(Scope(self.project, self.sandboxes))

    def plan(self, desired: State) -> Plan:
        return diff(desired, self.observe().state)

    def attempt(self, desired: State) -> list[NetapplyError]:
        """Make the changes that lead to the state and return what went wrong."""
        return [result.error for result in self.host.apply(self.plan(desired).changes) if result.error]

    def converge(self, desired: State) -> Plan:
        """Bring the host to the state, at once and completely, and return what that took."""
        plan = self.plan(desired)
        errors = [result.error for result in self.host.apply(plan.changes) if result.error]
        assert not errors
        assert self.plan(desired).changes == ()
        return plan


def everything() -> dict[Key, Resource]:
    return state(RESOURCES)


def changed(desired: State, kind: str, of: str, **fields: Any) -> dict[Key, Resource]:
    """Return the state with some fields of one resource replaced."""
    key = Key(kind, of)
    return {**desired, key: replace(desired[key], **fields)}


def without(desired: State, *keys: tuple[str, str]) -> dict[Key, Resource]:
    return {key: resource for key, resource in desired.items() if key not in keys}


def ip(command: str) -> str:
    """Run `ip` with a command such as "-n web link show" and return what it prints."""
    return subprocess.run(["ip", *command.split()], check=True, capture_output=True, text=True, timeout=10).stdout


def make_uplink() -> None:
    """Make what RESOURCES stand on: a link of the host with an address and the default route."""
    for command in (
        "link add uplink type veth peer name far",
        "link set uplink up",
        "link set far up",
        "addr add 192.0.2.1/24 dev uplink",
        "route add default via 192.0.2.9",
    ):
        ip(command)
