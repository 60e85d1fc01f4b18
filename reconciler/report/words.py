"""Resources in the words of whoever wrote the manifest."""

from __future__ import annotations

from collections.abc import Iterable

from ..resources import (
    HOST,
    VTEP,
    Accepts,
    Address,
    BridgeVlan,
    Delegated,
    DnsHosts,
    DnsServer,
    FdbEntry,
    Link,
    Neighbour,
    Netns,
    NftTable,
    Port,
    ResolvConf,
    Resource,
    Route,
    Shaper,
    Sysctl,
    Wireguard,
    WireguardPeer,
)

DEFAULTS = ("0.0.0.0/0", "::/0")
"""The destinations of default routes."""


def brief(resource: Resource) -> str:
    """Return a resource in a few words."""
    match resource:
        case Address(address=address):
            return f"address {address}"
        case Route():
            return f"route {destination(resource)} {way(resource)}"
        case Link(kind=kind, name=name):
            return f"{kind} {name}"
        case Netns(reference=reference):
            return f"namespace {reference.removeprefix('netns:')}"
        case FdbEntry(mac=mac, via=via):
            return f"frames to {'everybody' if mac == FdbEntry.FLOOD else mac} via {via}"
        case Neighbour(address=address, mac=mac):
            return f"neighbour {address} is {mac}"
        case Port(name=name):
            return f"uplink {name}"
        case BridgeVlan(vid=vid, pvid=pvid, untagged=untagged):
            return f"VLAN {vid}{' pvid' if pvid else ''} {'untagged' if untagged else 'tagged'}"
        case Wireguard() | WireguardPeer():
            from . import tunnels

            return tunnels.brief(resource)
        case Shaper():
            from . import bandwidth

            return bandwidth.brief(resource)
        case Delegated(protocol=protocol, path=path):
            return f"{protocol} {path}"
        case NftTable(family=family, name=name):
            return f"firewall {family} {name}"
        case Accepts(name=name):
            return f"firewall {name}"
        case Sysctl(name=name, value=value):
            return f"setting {name} = {value}"
        case DnsHosts() | DnsServer() | ResolvConf():
            from . import names

            return names.brief(resource)


def in_full(resource: Resource) -> str:
    """Return a resource with all that the kernel is asked for, on one line."""
    match resource:
        case Link(peer=peer):
            words = [f"{resource.kind} {resource.name}", _inside(resource.sandbox), *_settings(resource, "mtu", "mac")]
            if resource.master:
                words.append(f"in bridge {_plain(resource.master)}")
            if resource.parent:
                words.append(f"on {parent(resource.parent)}")
            words += [f"{name} {shown(value)}" for name, value in {**resource.options, **resource.port}.items()]
            if peer:
                words += ["; inner end", peer.name, _inside(peer.sandbox), *_settings(peer, "mtu", "mac")]
            words += [f"net.{name}={value}" for name, value in resource.sysctls.items()]
            return " ".join(filter(None, words)).replace(" ;", ";")
        case Delegated(request=request):
            return f"{brief(resource)} {request}"
        case _:
            return brief(resource)


def _inside(sandbox: str) -> str:
    return f"in {sandbox}" if sandbox != HOST else ""


def _settings(end: object, *names: str) -> list[str]:
    return [f"{name} {value}" for name in names if (value := getattr(end, name)) is not None]


def place(sandbox: str) -> str:
    """Return what a sandbox is: the host, a container, or a namespace that belongs to none of the manifest's."""
    if sandbox == HOST:
        return "the host"
    return f"namespace {sandbox.removeprefix('@')}" if sandbox.startswith("@") else f"container {sandbox}"


def parent(reference: str | None) -> str:
    """Return what a link stands on: a link of the host, or what a network of the project makes."""
    if not reference or reference.startswith("/"):
        return _plain(reference)
    path, _, further = reference.partition("#")
    return f"network {path}" if path else further


def _plain(reference: str | None) -> str:
    return (reference or "nothing").removeprefix("/")


def destination(route: Route) -> str:
    """Return where a route leads to."""
    return "default" if route.destination in DEFAULTS else route.destination


def way(route: Route) -> str:
    """Return how a route leads there."""
    on_link = "to virtual IPs" if (route.link or "").endswith(VTEP) else "on the link"  # nobody else is there
    words = [route.type] if route.type != "unicast" else [f"via {route.via}" if route.via else on_link]
    if route.metric not in (0, 1024):
        words.append(f"metric {route.metric}")
    return " ".join(words)


def vlan_words(vlans: Iterable[BridgeVlan]) -> str:
    """Return the numbers of VLANs as "VLAN 10, 20-30"."""
    from ..lowering.vlans import runs, words

    return f"VLAN {words(runs(vlans))}"


def shown(value: object) -> str:
    """Return the value of a field as it is told."""
    match value:
        case None | "":
            return "none"
        case bool():
            return "on" if value else "off"
        case tuple():
            return ", ".join(map(str, value)) or "none"
        case _:
            return str(value).removeprefix("/")
