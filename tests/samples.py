"""A small project as resources, for tests to vary: container web on a bridge and on a macvlan. Plans in words."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.plan import Change, Create, Delete, Update
from reconciler.resources import HOST, Address, Link, Netns, Peer, Route

WEB = Netns("web", "netns:web")
FRONT = Link("front", "bridge", HOST, "shop-front", mtu=1500)
WEB_FRONT = Link(
    "web/front",
    "veth",
    HOST,
    "ve-web",
    mtu=1500,
    master="front",
    port={"isolated": True, "hairpin": False},
    peer=Peer("web", "eth0", mtu=1500),
)
WEB_LAN = Link("web/lan", "macvlan", "web", "eth1", mtu=1500, parent="/eth0", options={"mode": "bridge"})
GATEWAY = Address("front", "10.20.0.1/24")
ADDRESS = Address("web/front", "10.20.0.10/24")
ADDRESS6 = Address("web/front", "fd00:20::10/64")
DEFAULT = Route("web", "0.0.0.0/0", "10.20.0.1", "web/front")
DEFAULT6 = Route("web", "::/0", "fd00:20::1", "web/front", 1024)
NOWHERE = Route("web", "192.0.2.0/24", type="blackhole")


def deeds(changes: Iterable[Change]) -> list[str]:
    """A plan in words: + for what is created, ~ updated, - deleted; with "!" where it is a replacement."""
    signs = {Create: "+", Update: "~", Delete: "-"}
    return [
        signs[type(change)] + "!" * bool(getattr(change, "replaces", False) or getattr(change, "replaced", False))
        + f" {change.key}" + (f" {','.join(change.fields)}" if isinstance(change, Update) else "")
        for change in changes
    ]  # fmt: skip
