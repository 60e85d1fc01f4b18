"""What a kernel in memory is made of: namespaces, links and routes, as `reconciler.host.fake_kernel` keeps them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from ..resources import Option
from ..values import dataclass, field

MAX_PORTS = 1023
IPV6_MIN_MTU = 1280
UPPERS = ("ipvlan", "macvlan", "vlan")
"""The kinds of link that stand on another one."""

TAKERS = ("ipvlan", "macvlan")
"""Those of them that take all packets of the one below, as a bridge does (netdev_rx_handler_register)."""

KINDS = {
    **dict.fromkeys(("veth", "bridge", "dummy", "ifb", "vxlan"), 1500),
    "wireguard": 1420,
    **dict.fromkeys(UPPERS, 0),
}
"""The kinds of link that can be made, with the MTU that they get by themselves (0: the parent's)."""

SETTINGS = {
    *("ipv4.conf.rp_filter", "ipv4.conf.log_martians", "ipv4.conf.arp_ignore", "ipv6.conf.accept_ra"),
    *("ipv4.conf.arp_announce", "ipv4.conf.arp_filter", "ipv4.conf.route_localnet", "ipv6.conf.disable_ipv6"),
}
"""Some of those that a link has under net.ipv4 and net.ipv6."""

OPTIONS: Mapping[str, Mapping[str, Option]] = {
    "bridge": {
        "forward_delay": 15,
        "mcast_snooping": True,
        "stp_state": False,
        "vlan_default_pvid": 1,
        "vlan_filtering": False,
    },
    "ipvlan": {"mode": "l3", "flag": "bridge"},
    "macvlan": {"mode": "vepa", "bc_queue_len": 1000},
    "vlan": {"protocol": "802.1q"},
    "vxlan": {"learning": True, "port": 8472},
}
PORT: Mapping[str, Option] = {
    "isolated": False,
    "hairpin": False,
    "neigh_suppress": False,
    "learning": True,
    "flood": True,
    "mcast_flood": True,
    "bcast_flood": True,
}
"""What a link's kind and a bridge port have where nothing is said."""


@dataclass(slots=True, eq=False)
class Space:
    """A network namespace. `devices` are by name, `lo` among them; `routes` by destination and metric, `tables` by
    family and name."""

    cookie: int
    devices: dict[str, Device] = field(default_factory=dict)
    routes: dict[tuple[str, int], Hop] = field(default_factory=dict)
    tables: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Device:
    """A link: one end of a veth pair is one. `addresses` have their protocol numbers (IFA_PROTO).

    `kind` "" is what hardware gives: it can't be made or deleted. `vlans` are those of a bridge or a port, by number:
    whether frames without a tag belong to it, and whether its frames go out without one. `fdb` has the mark and the
    hosts by MAC, `neighbours` the mark and the MAC by address, `static` are the MACs for which a bridge has this port.
    `public_key`, `port_number` and `peers` (endpoint and prefixes by key) are WireGuard's. `queue` is one of
    netapply's, with its rate, burst and limit, `foreign_queue` the kind of another's; packets that come in may be
    `filtered`, and are `redirected`, maybe to a link that is no more.
    """

    space: Space
    name: str
    kind: str
    mtu: int
    mac: str
    up: bool = False
    master: Device | None = None
    parent: Device | None = None
    peer: Device | None = None
    options: dict[str, Option] = field(default_factory=dict)
    port: dict[str, Option] = field(default_factory=dict)
    vlans: dict[int, tuple[bool, bool]] = field(default_factory=dict)
    fdb: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    static: set[str] = field(default_factory=set)
    neighbours: dict[str, tuple[int, str]] = field(default_factory=dict)
    public_key: str = ""
    port_number: int = 0
    peers: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    queue: tuple[int, int, int] | None = None
    foreign_queue: str = ""
    filtered: bool = False
    redirected: Device | None = None
    ipv6: bool = True
    addresses: dict[str, int] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    group: int = 0
    alias: str | None = None
    tags: tuple[str, ...] = ()


class Hop(NamedTuple):
    """A route of the main table. `device` is None for blackhole, unreachable and prohibit."""

    destination: str
    metric: int
    via: str | None
    device: Device | None
    type: str = "unicast"
    protocol: int = 4
    onlink: bool = False


def refuse(number: int) -> OSError:
    """Return the error of that errno, to be raised."""
    return OSError(number, os.strerror(number))
