"""The host in memory that drivers are tried on, with things on it that are somebody else's."""

from __future__ import annotations

from collections.abc import Mapping

from ..host.fake import FakeHost
from ..host.fake_links import Device, Hop
from ..resources import GUARD_TABLE
from .subject import CONTAINERS, PARENTS, PID


def new_host() -> FakeHost:
    """Return a host as a machine has it, in use: network cards, a default route, a bridge with a container on it."""
    host = FakeHost()
    kernel = host.kernel
    for number, name in enumerate(PARENTS):
        kernel.host.devices[name] = Device(kernel.host, name, "", 1500, f"02:aa:00:00:00:0{number}", up=True)
        kernel.sysctls[f"net.ipv6.conf.{name}.accept_ra"] = "0"
    outside = kernel.host.devices[PARENTS[0]]
    kernel.add_address(outside, "192.0.2.10/24")
    kernel.add_route(kernel.host, Hop("0.0.0.0/0", 0, "192.0.2.1", outside))
    theirs = kernel.space()
    kernel.bind("theirs", theirs)
    bridge = kernel.add_link(kernel.host, "canary0", "bridge")
    kernel.add_address(bridge, "203.0.113.1/24")
    port = kernel.add_link(kernel.host, "canary-port0", "veth", peer=(theirs, "eth0", None, None))
    for link in (theirs.devices["lo"], bridge, port, theirs.devices["eth0"]):
        kernel.set_up(link, True)
    kernel.set_master(port, bridge)
    for place in range(len(CONTAINERS)):
        kernel.pids[PID + place] = kernel.host
    return host


def what_is(host: FakeHost) -> Mapping[str, object]:
    """Return all there is, without what is never undone: forwarding and its guard."""
    seen = dict(host.snapshot())
    del seen["sysctls"]
    tables = seen["tables"]
    assert isinstance(tables, dict)
    seen["tables"] = {key: text for key, text in tables.items() if key[1] != GUARD_TABLE}
    return seen


def foreign(host: FakeHost) -> Mapping[str, object]:
    """Return the links of others: what netapply must not touch, whatever a driver yields."""
    spaces = {"": host.kernel.host, "theirs": host.kernel.names.get("theirs", host.kernel.host)}
    return {
        f"{label} {one.name}": (one.kind, one.mtu, one.mac, one.up, one.master and one.master.name, dict(one.addresses))
        for label, space in spaces.items()
        for one in space.devices.values()
        if not (one.alias or "").startswith("netapply:")
    }
