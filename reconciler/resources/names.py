"""How resources are named, and the marks by which what is netapply's is known in the kernel."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

HOST = ""
"""The sandbox that is the host's own network namespace."""

ROUTE_PROTOCOL = 110
"""rtm_protocol of our routes: free in iproute2's rt_protos and in FRR's and BIRD's numbers."""

LINK_GROUP = 0x6E6170
"""IFLA_GROUP of every link of ours ("nap"), given at creation, when the kernel ignores an alias."""

ALIAS = "netapply:"
"""How the alias of a link of ours begins: netapply:PROJECT/PATH; of a namespace's lo:
netapply:PROJECT/CONTAINER;host=COOKIE, where the host's cookie tells hosts apart that share /run/netns."""

GUARD_TABLE = "netapply"
"""Name of the nft table that keeps a host from forwarding for others after netapply has turned forwarding on."""

HALF_MADE = "?"
"""How the path of a link, or the name of a sandbox, begins that a killed run left unmarked. Never desired."""

WIREGUARD = "#wireguard"
"""The path of the link by which a project's encrypted networks go to other hosts."""

FENCES = range(0x6E000000, 0x6F000000)
"""Metrics of routes to nowhere that keep what is for that link from following another route where it has none; each
project has one of its own (`naming.fence_metric`), by which they are known."""

UPLINK = "#uplink"
"""How the path of a port ends: of a link of somebody else's that is in a bridge of ours."""

VTEP = "#vtep"
"""How the path ends of a VXLAN link by which the host routes to other hosts' parts of a network."""

VLANS = "vlans"
"""The tag of a bridge or a port whose VLANs are netapply's to say; those of others are not looked at."""

NFT = "nft"
"""The tag of a sandbox's link that says that the project may have an nft table in there."""

Option: TypeAlias = str | int | bool


class Key(NamedTuple):
    """A resource's identity within its project, such as Key("link", "web/front")."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
