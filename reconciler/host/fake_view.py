"""What a host in memory shows to whoever observes it for one project."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_interface

from ..firewall import guard_of, owner_of, table_name
from ..naming import fence_metric
from ..resources import (
    ALIAS,
    DOCKER,
    FENCES,
    GUARD_TABLE,
    HOST,
    LINK_GROUP,
    NFT,
    ROUTE_PROTOCOL,
    UPLINK,
    VLANS,
    Accepts,
    Address,
    BridgeVlan,
    FdbEntry,
    Key,
    Link,
    Neighbour,
    Netns,
    NftTable,
    Peer,
    Port,
    Resource,
    Route,
    Sysctl,
)
from . import Facts, Guest, HostLink, Scope, Upper, fake_neighbours, fake_shaping, fake_wireguard
from .fake_kernel import Kernel
from .fake_links import Device, Hop, Space
from .fake_sandboxes import Sandboxes

HALF_MADE = "?"
"""How the path of a link begins that bears no alias yet or another one's; its name and its namespace follow."""


class View:
    """One look at a kernel. `places` are the namespaces that matter to the project, by symbol, the host's first.

    `delegated` are the cookies of the namespaces in which plugins keep what they made, by project and path.
    """

    def __init__(self, kernel: Kernel, scope: Scope, delegated: Mapping[tuple[str, str], int]) -> None:
        self._kernel = kernel
        self._scope = scope
        self._found = Sandboxes(kernel, scope, delegated)
        self.project = scope.project
        self.sandboxes = scope.sandboxes
        self.places = self._found.places
        self._symbols = {space.cookie: symbol for symbol, space in sorted(self.places.items(), reverse=True)}
        self._first: dict[str, Device] = {}
        self._twins: set[Device] = set()  # those with the path of another, which they keep not to have once it is gone
        self.uplinks: dict[str, str] = {}  # the ports of ours by path, as references
        self.found_up: dict[str, bool] = {}

    def resources(self) -> Iterator[Resource]:
        """Yield what there is of the project."""
        yield from self._namespaces()
        yield from self._links()
        yield from self._ports()
        yield from self._vlans()
        yield from self._routes()
        yield from (one for one, ours in self._ways() if ours)
        for device in self._kernel.host.devices.values():
            if device.kind == "wireguard" and (path := self.path(device)):
                yield from fake_wireguard.seen(device, path)
        yield from fake_shaping.seen(self._kernel, self.path)
        for number, accepted in self._kernel.docker.items() if self._coexists() else ():
            if rules := accepted.get(self.project):
                yield Accepts(number, rules)
        yield from (Sysctl(name, value) for name, value in self._kernel.sysctls.items())
        for (family, name), text in self._kernel.tables.items():
            if owner_of(text) == {table_name(self.project): self.project, GUARD_TABLE: ""}.get(name):
                yield NftTable(family, name, text)
        yield from (one for one in self._tables() if owner_of(one.text) == self.project)

    def cookie(self, symbol: str) -> int | None:
        """Return the cookie of a sandbox's namespace, None where it has none."""
        return self.places[symbol].cookie if symbol in self.places else None

    def _tables(self) -> Iterator[NftTable]:
        """Yield what is called as the project's table in sandboxes where a mark says that there may be one."""
        name = table_name(self.project)
        for space in {one.cookie: one for symbol, one in self.places.items() if symbol != HOST}.values():
            ends = [(end, one) for one in self._kernel.devices() for end in (one, one.peer) if end]
            marked = any(end.space is space and self.path(one) and NFT in one.tags for end, one in ends)
            for (family, label), text in space.tables.items():
                if marked and label == name:
                    yield NftTable(family, label, text, self._symbols[space.cookie])

    def _coexists(self) -> bool:
        """Whether what is in Docker's chain matters: the manifest says so, or the tag of a link of the project."""
        return self._scope.docker or any(
            DOCKER in one.tags and self.path(one) for one in self._kernel.host.devices.values()
        )

    def path(self, device: Device | None) -> str | None:
        """Return the path of a link of the project, None for every other link. A half-made one is everybody's."""
        if device is None or device.kind == "loopback":  # lo bears the mark of its namespace
            return None
        if not (device.alias or "").startswith(ALIAS):
            return self._half_made(device) if device.group == LINK_GROUP else None
        project, _, path = str(device.alias).removeprefix(ALIAS).partition("/")
        if project != self.project:
            return None
        first = self._first.get(path)
        if device not in self._twins and (first is None or first.space.devices.get(first.name) is not first):
            first = self._first[path] = device
        if first is device:
            return path
        self._twins.add(device)
        return self._half_made(device)

    def _half_made(self, device: Device) -> str:
        where = self._symbols.get(device.space.cookie, "")
        return f"{HALF_MADE}{device.name}" + (f"@{where}" if where else "")

    def _namespaces(self) -> Iterator[Netns]:
        names = {space.cookie: f"netns:{name}" for name, space in self._kernel.names.items()}
        pids = {space.cookie: f"pid:{number}" for number, space in self._kernel.pids.items()}
        for symbol, space in self.places.items():
            reference = self._scope.sandboxes.get(symbol)
            ours = (space.devices["lo"].alias or "").startswith(f"{ALIAS}{self.project}/")
            if space is self._kernel.host or not (ours or (reference and not reference.create)):
                continue
            where = str(reference) if reference else names.get(space.cookie) or pids[space.cookie]
            created = any(one.create and self.places.get(name) is space for name, one in self._scope.sandboxes.items())
            adopted = not ours or bool(created and reference and not reference.create)
            yield Netns(symbol, where, adopted, space.devices["lo"].up, busy=space.cookie in pids)

    def _symbol(self, space: Space, path: str) -> str:
        """Return what a namespace is called as the place of a link: several containers can be in one."""
        container = path.partition("#")[0].rpartition("/")[0]
        return container if self.places.get(container or "?") is space else self._symbols.get(space.cookie, "?")

    def _links(self) -> Iterator[Link | Address]:
        for space in self.places.values():
            for device in space.devices.values():
                path, peer, ref = self.path(device), device.peer, self._reference
                if path is None:
                    continue
                if peer and peer.space.cookie not in self._symbols:  # its namespace is deleted or unknown
                    peer = None
                inner = peer or device
                yield Link(
                    path=path,
                    kind=device.kind,
                    sandbox=self._symbol(space, path),
                    name=device.name,
                    mtu=device.mtu,
                    mac=device.mac,
                    up=device.up,
                    master=ref(device.master),
                    parent=ref(device.parent),
                    options=dict(device.options),
                    port=dict(device.port),
                    peer=self._peer(peer, path) if peer else None,
                    ipv6=device.ipv6,
                    sysctls=dict(inner.sysctls),
                    tags=device.tags,
                )
                yield from (
                    ()
                    if device.peer and not peer
                    else (Address(path, one) for one, number in inner.addresses.items() if number == ROUTE_PROTOCOL)
                )

    def _ports(self) -> Iterator[Port]:
        """Yield the links of others that are in our bridges because a manifest says so."""
        for bridge in self._kernel.host.devices.values():
            path = self.path(bridge)
            for name, found_up in Port.tagged(bridge.tags) if path else ():
                port = self._kernel.host.devices.get(name)
                if port and port.master is bridge and path:
                    self.uplinks[path + UPLINK], self.found_up[name] = f"/{name}", found_up
                    yield Port(path + UPLINK, name, path, port.up, found_up)

    def _vlans(self) -> Iterator[BridgeVlan]:
        """Yield the VLANs of bridges and ports whose tags say that they are netapply's."""
        for device in self._kernel.host.devices.values():
            path = self.path(device)
            if path is None and device.master and VLANS in device.master.tags and device.name in self.found_up:
                path = f"{self.path(device.master)}{UPLINK}"
            elif path is None or VLANS not in device.tags:
                continue
            yield from (BridgeVlan(path, vid, *how) for vid, how in device.vlans.items())

    def _peer(self, end: Device, path: str) -> Peer:
        return Peer(self._symbol(end.space, path), end.name, end.mtu, end.mac, end.up, end.ipv6)

    def _reference(self, device: Device | None) -> str | None:
        return None if device is None else self.path(device) or f"/{device.name}"

    def _routes(self) -> Iterator[Route]:
        for space in {one.cookie: one for one in self.places.values()}.values():
            yield from (route for hop in space.routes.values() if (route := self._own_route(space, hop)))

    def _own_route(self, space: Space, hop: Hop) -> Route | None:
        """Return a route as one of ours: by its link, or if it leads nowhere by what else of ours is there."""
        path, symbol = self._over(hop.device), self._symbols[space.cookie]
        if hop.protocol != ROUTE_PROTOCOL:
            return None
        if hop.metric in FENCES and path is None and space is self._kernel.host:
            own = hop.metric == fence_metric(self.project)
            return Route(symbol, hop.destination, hop.via, metric=hop.metric, type=hop.type) if own else None
        if path is None and hop.device:
            return None
        if path is None:
            ends = (end for one in space.devices.values() for end in (one, one.peer) if end)
            owners = {owner for end in ends if (owner := _owner(end)) is not None}
            if symbol not in self._scope.sandboxes and self.project not in owners:
                return None
            shared = not owners <= {self.project}
            return Route(symbol, hop.destination, metric=hop.metric, type=hop.type, shared=shared)
        symbol = self._symbol(space, path)
        return Route(symbol, hop.destination, hop.via, path, hop.metric, hop.type, onlink=hop.onlink)

    def _ways(self) -> Iterator[tuple[FdbEntry | Neighbour, bool]]:
        """Yield what VXLAN links of ours, and the bridges that they are in, know of others; and whether it is ours."""
        for vxlan in self._kernel.host.devices.values():
            for device in (vxlan, vxlan.master) if vxlan.kind == "vxlan" and self.path(vxlan) else ():
                if device and (path := self.path(device)):
                    yield from fake_neighbours.seen(device, path)

    def _over(self, device: Device | None) -> str | None:
        """Return the path of the link of ours that a route leaves by."""
        return self.path(device) or (self.path(device.peer) if device else None)

    def facts(self, nameservers: tuple[str, ...] = ()) -> Facts:
        """Return what the host is like, the project's own objects aside."""
        host, sysctls = self._kernel.host, self._kernel.sysctls
        others = {name: one for name, one in host.devices.items() if self.path(one) is None and not self._inner(one)}
        mine = {id(one) for one in host.devices.values()} - {id(one) for one in others.values()}
        hops = [hop for hop in host.routes.values() if id(hop.device) not in mine]
        out = sorted((hop for hop in hops if hop.destination in ("0.0.0.0/0", "::/0") and hop.device), key=_preference)
        hops = [hop for hop in hops if hop.metric not in FENCES]
        prefixes = {hop.destination for hop in hops if hop not in out and hop.destination not in ("0.0.0.0/0", "::/0")}
        prefixes |= {_prefix(address) for one in others.values() for address in one.addresses if one.up}
        loose = [name for name, one in others.items() if not one.master]
        routers = [name for name in loose if sysctls.get(f"net.ipv6.conf.{name}.accept_ra") == "1"]
        guard = self._kernel.tables.get(("inet", GUARD_TABLE))
        return Facts(
            links={name: self._as_found(_host_link(one)) for name, one in others.items()},
            default_link=out[0].device.name if out and out[0].device else None,
            routes=tuple(sorted(prefixes)),
            nameservers=nameservers,
            pending=self._found.pending,
            unsure=self._found.unsure,
            together=self._found.together(),
            in_host=frozenset(self._found.in_host),
            taken=dict(self._taken()),
            forwarding_ipv4=sysctls["net.ipv4.ip_forward"] == "1",
            forwarding_ipv6=sysctls["net.ipv6.conf.all.forwarding"] == "1",
            accept_ra=tuple(routers),
            guard=guard_of(guard) if guard and owner_of(guard) == "" else {},
            uppers=tuple(self._uppers()),
            guests=tuple(self._guests()),
            docker=frozenset(self._kernel.docker if self._coexists() else ()),
        )

    def _uppers(self) -> Iterator[Upper]:
        """Yield the links of others that stand on links of the host."""
        places = {space.cookie: f"netns:{name}" for name, space in self._kernel.names.items()}
        for space in self._kernel.spaces():
            for one in space.devices.values():
                if one.parent and one.parent.space is self._kernel.host and self.path(one) is None:
                    options = dict(one.options)
                    yield Upper(one.name, one.kind, one.parent.name, places.get(space.cookie, ""), options)

    def _guests(self) -> Iterator[Guest]:
        """Yield what others have in namespaces that the project made, and on its links."""
        host = self._kernel.host
        for device in host.devices.values():
            if (path := self.path(device)) and not (device.peer and device.peer.space is not host):
                foreign = (one for one, protocol in device.addresses.items() if protocol != ROUTE_PROTOCOL)
                yield from (Guest(HOST, one, "address", path) for one in foreign)
        for hop in host.routes.values():
            if hop.device and (path := self.path(hop.device)) and hop.protocol != ROUTE_PROTOCOL:
                yield Guest(HOST, hop.destination, "route", path)
        for space in self._kernel.spaces():
            made = (space.devices["lo"].alias or "").startswith(f"{ALIAS}{self.project}/")
            for one in space.devices.values() if space is not self._kernel.host else ():
                if one.kind == "loopback" or self._over(one):
                    continue
                below = one.parent if one.parent and one.parent.space is space else None
                if (path := self._over(below) or "") or made:
                    yield Guest(self._symbols.get(space.cookie, ""), one.name, one.kind, path)

    def _as_found(self, link: HostLink) -> HostLink:
        """Return a link as it is without what this project has done to it."""
        up = self.found_up.get(link.name)
        return link if up is None else replace(link, up=up, master=None)

    def _inner(self, device: Device) -> bool:
        return self.path(device.peer) is not None

    def _taken(self) -> Iterator[tuple[Key, str]]:
        """Yield what is in the way of ours and not the project's, in words."""
        for symbol, space in self.places.items():
            if symbol != HOST and symbol not in self._scope.sandboxes:
                continue
            for device in space.devices.values():
                path = self._over(device)
                for address, protocol in device.addresses.items() if path else ():
                    if protocol != ROUTE_PROTOCOL:
                        yield Key("address", f"{path} {address}"), "somebody else gave that address to the link"
                if self.path(device) is None and not self._inner(device):
                    yield Key("link", f"{symbol} {device.name}"), f"a {device.kind} that netapply did not make"
                    if device.kind == "vxlan" and symbol == HOST:
                        yield fake_neighbours.claim(device), f"the link {device.name} has it"
                    yield from fake_wireguard.taken(device) if symbol == HOST else ()
            for hop in space.routes.values():
                if not self._own_route(space, hop):
                    route = Route(symbol, hop.destination, metric=hop.metric)
                    whose = "of another project" if hop.protocol == ROUTE_PROTOCOL else "that netapply did not make"
                    yield route.key, f"a route {whose}"
        yield from ((one.key, "somebody else made it") for one, ours in self._ways() if not ours)
        yield from fake_shaping.taken(self._kernel, self.path)
        for container, reference in self._scope.sandboxes.items():
            found = self.places.get(container)
            if reference.create and found and not (found.devices["lo"].alias or "").startswith(ALIAS + self.project):
                yield Key("netns", container), f"{reference} is there and netapply did not make it"
        for (family, name), text in self._kernel.tables.items():
            if name in (table_name(self.project), GUARD_TABLE) and owner_of(text) not in ("", self.project):
                yield NftTable(family, name, "").key, "a table that netapply did not make"
        for table in self._tables():
            if owner_of(table.text) != self.project:
                yield table.key, "a table that netapply did not make"


def _owner(device: Device) -> str | None:
    """Return the project whose mark a link bears."""
    alias = device.alias or ""
    return alias.removeprefix(ALIAS).partition("/")[0] if alias.startswith(ALIAS) else None


def _host_link(device: Device) -> HostLink:
    return HostLink(
        device.name,
        device.kind,
        device.mtu,
        device.up,
        _owner(device),
        tuple(device.addresses),
        device.master.name if device.master else None,
        tuple(hop.destination for hop in device.space.routes.values() if hop.device is device),
        bool(device.options.get("vlan_filtering")),
    )


def _preference(hop: Hop) -> tuple[bool, int]:
    """IPv4 before IPv6, then the lower metric."""
    return ":" in hop.destination, hop.metric


def _prefix(address: str) -> str:
    return str(ip_interface(address).network)
