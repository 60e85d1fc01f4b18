"""Hosts in memory, and what others have on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from reconciler.host.fake import FakeHost
from reconciler.host.fake_links import Device, Hop
from reconciler.resources import ROUTE_PROTOCOL, NftTable, Option
from tests.canaries import make_in_memory

from . import overlays

PARENTS = ("eth0", "eth1", "eth2")
"""Links of the host that macvlans stand on; eth2 is for passthru, which wants a parent for itself."""

VLANS = ("eth0.20", "eth1.5")
"""Links that are not there, and can be made: for macvlans, and for ipvlans, which don't go together on one."""

CARD = "card0"
"""A link of the host that nobody uses and that is down: what a bridge may have for its uplink."""

PROCESS = 4242
"""The process in the namespace "theirs", if there is one: its number in memory; in the kernel it is another one."""

CONTAINERS = ("web", "db", "api")

NETWORKS = ("front", "back", "lan")


def new_host(trap: Any = None, batch: int = 1) -> FakeHost:
    """Return a host as a machine has it: network cards, an address, a default route, IPv4 forwarding off."""
    host = FakeHost(trap, batch)
    host.keys = dict(overlays.PUBLIC)
    for number, name in enumerate(PARENTS):
        mac = f"02:aa:00:00:00:0{number}"
        host.kernel.host.devices[name] = Device(host.kernel.host, name, "", 1500, mac, up=True)
        host.kernel.sysctls[f"net.ipv6.conf.{name}.accept_ra"] = "0"
    host.kernel.host.devices[CARD] = Device(host.kernel.host, CARD, "", 1500, "02:dd:00:00:00:0f")
    host.kernel.docker = {4: {}}
    outside = host.kernel.host.devices["eth0"]
    host.kernel.add_address(outside, "192.0.2.10/24")
    host.kernel.add_route(host.kernel.host, Hop("0.0.0.0/0", 0, "192.0.2.1", outside))
    return host


def nft_table(verdict: str, project: str = "shop") -> NftTable:
    """Return a project's table as nft lists it, with one chain of one verdict."""
    name, comment = f"netapply-{project}", f'\tcomment "netapply:{project}"\n'
    chain = f"\tchain forward {{\n\t\ttype filter hook forward priority filter; policy accept;\n\t\t{verdict}\n\t}}\n"
    return NftTable("inet", name, f"table inet {name} {{\n{comment}{chain}}}\n")


@st.composite
def foreign(draw: st.DrawFn) -> Foreign:
    """What others have on the host and in a namespace named "theirs"."""
    return Foreign(
        ports=draw(st.integers(0, 2)),
        addresses=tuple(draw(st.lists(st.sampled_from(["203.0.113.1/24", "2001:db8:9::1/64"]), unique=True))),
        processes=draw(st.booleans()),
        project=draw(st.booleans()),
    )


@dataclass(frozen=True)
class Foreign:
    """Canaries: a bridge `canary0` with ports, links of all kinds on eth0, a namespace, perhaps another project's."""

    ports: int = 1
    addresses: tuple[str, ...] = ()
    processes: bool = False
    project: bool = False

    def make(self, host: FakeHost) -> None:
        kernel = host.kernel
        theirs = kernel.space()
        kernel.set_up(theirs.devices["lo"], True)
        kernel.bind("theirs", theirs)
        bridge = kernel.add_link(kernel.host, "canary0", "bridge")
        kernel.set_up(bridge, True)
        for address in self.addresses:
            kernel.add_address(bridge, address)
        for number in range(self.ports):
            peer = (theirs, f"port{number}", None, None)
            port = kernel.add_link(kernel.host, f"canary-port{number}", "veth", peer=peer)
            kernel.set_master(port, bridge)
        make_in_memory(kernel, kernel.host.devices["eth0"])
        if self.processes:
            kernel.pids[PROCESS] = theirs
            kernel.runtimes["machine:theirs"] = PROCESS
        if self.project:
            other = nft_table("drop", "other")
            kernel.tables[other.family, other.name] = other.text
            link = kernel.add_link(kernel.host, "other-net", "bridge", group=0x6E6170)
            kernel.set_alias(link, "netapply:other/net")


@st.composite
def guests(draw: st.DrawFn) -> Guests:
    """What others put into the project's namespaces and on its links; numbers choose among those that there are."""
    some = st.frozensets(st.integers(0, 3), max_size=2)
    return Guests(draw(some), draw(some), draw(some), draw(some))


@dataclass(frozen=True)
class Guests:
    """Foreign links in the project's namespaces and upon its endpoints; addresses and routes on its bridges."""

    inside: frozenset[int] = frozenset()
    upon: frozenset[int] = frozenset()
    addresses: frozenset[int] = frozenset()
    routes: frozenset[int] = frozenset()

    def put(self, host: FakeHost) -> Callable[[], list[str]]:
        """Put them there, and return what tells which of them are no more."""
        kernel = host.kernel
        made = [one for one in kernel.spaces() if one is not kernel.host and _is_ours(one.devices["lo"])]
        links: list[Device] = []
        for place, space in enumerate(made):
            if place in self.inside:
                links.append(kernel.add_link(space, "theirs", "bridge"))
            own = (one for one in space.devices.values() if one.kind != "loopback")
            ends = [one for one in own if _is_ours(one) or _is_ours(one.peer)]
            if place in self.upon and ends:
                options: dict[str, Option] = {"id": 7, "protocol": "802.1q"}
                links.append(kernel.add_link(space, "theirs.7", "vlan", parent=ends[0], options=options))
        bridges = [one for one in kernel.host.devices.values() if one.kind == "bridge" and _is_ours(one)]
        given = [one for place, one in enumerate(bridges) if place in self.addresses and one.up]
        for one in given:
            kernel.add_address(one, "203.0.113.77/32")
        led = {f"198.51.{place}.0/24": one for place, one in enumerate(bridges) if place in self.routes and one.up}
        for destination, one in led.items():
            kernel.add_route(kernel.host, Hop(destination, 0, None, one))

        def lost() -> list[str]:
            there = {id(one) for space in kernel.spaces() for one in space.devices.values()}
            gone = [one.name for one in links if id(one) not in there]
            gone += [one.name for one in given if id(one) not in there or "203.0.113.77/32" not in one.addresses]
            return gone + [destination for destination in led if (destination, 0) not in kernel.host.routes]

        return lost


def canaries(host: FakeHost) -> Mapping[str, object]:
    """Return what a host has that is not project shop's, to compare before and after."""
    spaces = {"": host.kernel.host, **host.kernel.names}
    return {
        "links": {
            f"{label} {one.name}": (
                one.kind,
                one.mtu,
                one.mac,
                *_as_found(one),
                one.parent.name if one.parent else None,
                dict(one.options),
                dict(one.addresses),
                dict(one.sysctls),
                dict(one.fdb),
                (one.public_key, one.port_number, dict(one.peers)),
            )
            for label, space in spaces.items()
            if not _is_ours(space.devices["lo"])
            for one in space.devices.values()
            if not _is_ours(one) and not _is_ours(one.peer)
        },
        "routes": {
            (label, key): hop
            for label, space in spaces.items()
            for key, hop in space.routes.items()
            if hop.protocol != ROUTE_PROTOCOL
        },
        "tables": {key: text for key, text in host.kernel.tables.items() if key[1] == "netapply-other"},
    }


def _as_found(device: Device) -> tuple[bool, str | None]:
    """Return whether a link is up, and its master: of an uplink of ours as it was before."""
    if device.name == CARD and _is_ours(device.master):
        return False, None
    return device.up, device.master.name if device.master else None


def _is_ours(device: Device | None) -> bool:
    return device is not None and (device.alias or "").startswith("netapply:shop/")
