"""Networks that span hosts by routes: each host has its own share of every subnet, and knows the way to the others'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..manifest.model import NetworkSpec
from ..naming import fence_metric, mac_address
from ..networks import Network, Node, Subnet
from ..resources import HOST, Address, FdbEntry, Neighbour, Option, Resource, Route
from .addressing import DEFAULT_METRIC
from .bridging import gateway_mode

_PREFIX = {"type": "integer", "minimum": 8}
_PART = "Prefix length of a host's part of an {} subnet (mode l3); left out, halfway between that of the subnet and {}."

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "host_prefix_ipv4": {**_PREFIX, "maximum": 31, "description": _PART.format("IPv4", 32)},
    "host_prefix_ipv6": {**_PREFIX, "maximum": 127, "description": _PART.format("IPv6", 128)},
    "direct_routing": {
        "type": "boolean",
        "default": False,
        "description": "Whether packets to hosts on the same link go as they are, with no VXLAN around them (mode l3).",
    },
}


class Fault(NamedTuple):
    """What is wrong with a network: where below it, what, and what mends it."""

    path: tuple[str | int, ...]
    what: str
    mend: str


def share(options: Mapping[str, Option], family: int, length: int) -> int | None:
    """Return the prefix length of each host's share of a subnet: halfway to an address's, unless an option says it."""
    if options.get("mode") != "l3":
        return None
    given = options.get(f"host_prefix_ipv{family}")
    return int(given) if given is not None else (length + {4: 32, 6: 128}[family]) // 2


def faults(network: NetworkSpec) -> Iterator[Fault]:
    """Yield what does not go with the network's mode."""
    options = network.driver_opts
    if options.get("mode") != "l3":
        yield from (
            Fault(("driver_opts", name), f"{name} is for mode l3", "remove it, or set mode: l3")
            for name in OPTIONS
            if options.get(name)
        )
        return
    if options.get("flood"):
        yield Fault(("driver_opts", "flood"), "there is nothing to flood in mode l3: hosts route", "use mode l2")
    if options.get("direct_routing") and options.get("encrypted"):
        what = "packets that go as they are by direct_routing are not encrypted"
        yield Fault(("driver_opts", "direct_routing"), what, "remove one of the two")
    for family, enabled in ((4, network.enable_ipv4), (6, network.enable_ipv6)):
        if enabled and gateway_mode(options, family) == "isolated":
            what = f"the hosts route in mode l3, and gateway mode isolated keeps them out of IPv{family}"
            yield Fault(("driver_opts", "mode"), what, "use internal: true, or mode l2")
    for number, route in enumerate(network.routes):
        if route.via:
            what = f"via {route.via} would have to be a neighbour on every host, and in mode l3 each has its own"
            yield Fault(("routes", number, "via"), what, "remove it, or use mode l2")
    for number, config in enumerate(network.ipam):
        for key in ("gateway", "ip_range"):
            if getattr(config, key):
                what = f"{key} is given, and in mode l3 each host has its own part of {config.subnet}"
                yield Fault(("ipam", "config", number, key), what, "remove it")


def ways(network: Network, path: str) -> Iterator[Resource]:
    """Yield the ways to the other hosts' shares, by the VXLAN link with that path or straight by their addresses."""
    for subnet in network.node.subnets if network.node else ():
        yield Address(path, f"{subnet.gateway}/{32 if subnet.family == 4 else 128}")
    for prefix in network.virtual:  # nobody is there: the way says by which address this host is a client
        yield Route(HOST, prefix, None, path, DEFAULT_METRIC[6 if ":" in prefix else 4])
    for node in network.nodes:
        mac = vtep_mac(network, node)
        far = [subnet for subnet in node.subnets if not is_direct(network, node, subnet)]
        if far:
            yield FdbEntry(path, mac, node.address, bridged=False)
        for subnet in node.subnets:
            if subnet in far:
                yield Route(HOST, subnet.cidr, subnet.gateway, path, DEFAULT_METRIC[subnet.family], onlink=True)
                yield Neighbour(path, str(subnet.gateway), mac)
            else:  # the link is somebody else's: the route is known to be ours by its metric
                yield Route(HOST, subnet.cidr, node.address, metric=fence_metric(network.project))


def direct(network: Network) -> tuple[str, ...]:
    """Return the shares of other hosts from which packets may come as they are: of all, since each looks by itself."""
    if not network.options.get("direct_routing"):
        return ()
    return tuple(one.cidr for node in network.nodes for one in node.subnets if _same_family(node, one))


def vtep_mac(network: Network, node: Node) -> str:
    """Return the MAC of the VXLAN link on a host: each has its own, and every host knows all of them."""
    return mac_address(network.project, f"{network.name}#vxlan#{node.name}")


def is_direct(network: Network, node: Node, subnet: Subnet) -> bool:
    """Whether packets for another host's share of a subnet go there as they are."""
    return bool(network.options.get("direct_routing")) and node.near and _same_family(node, subnet)


def _same_family(node: Node, subnet: Subnet) -> bool:
    return (":" in node.address) == (subnet.family == 6)
