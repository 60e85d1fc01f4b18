"""What a host in memory shows to whoever observes it for one project."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface

from ..firewall import guard_of, owner_of, table_name
from ..networks import SandboxRef
from ..resources import (
    ALIAS,
    GUARD_TABLE,
    HOST,
    LINK_GROUP,
    ROUTE_PROTOCOL,
    Address,
    Key,
    Link,
    Netns,
    NftTable,
    Peer,
    Resource,
    Route,
    Sysctl,
)
from . import Facts, HostLink, Scope
from .fake_kernel import Device, Hop, Kernel, Space

HALF_MADE = "?"
"""How the path of a link begins that bears no alias yet or another one's; its name and its namespace follow."""


class View:
    """One look at a kernel. `places` are the namespaces that matter to the project, by symbol, the host's first."""

    def __init__(self, kernel: Kernel, scope: Scope) -> None:
        self._kernel = kernel
        self._scope = scope
        self.project = scope.project
        self.places: dict[str, Space] = {HOST: kernel.host}
        self._pending: dict[str, str] = {}
        self._in_host: set[str] = set()
        self._symbols: dict[int, str] = {}
        self._first: dict[str, Device] = {}
        self._resolve()
        self._symbols = {space.cookie: symbol for symbol, space in reversed(self.places.items())}

    def resources(self) -> Iterator[Resource]:
        """Yield what there is of the project."""
        yield from self._namespaces()
        yield from self._links()
        yield from self._routes()
        yield from (Sysctl(name, value) for name, value in self._kernel.sysctls.items())
        for (family, name), text in self._kernel.tables.items():
            if owner_of(text) == {table_name(self.project): self.project, GUARD_TABLE: ""}.get(name):
                yield NftTable(family, name, text)

    def _resolve(self) -> None:
        """Find the namespaces that matter, by symbol, who is pending and why, and who is in the host's own."""
        for container, reference in self._scope.sandboxes.items():
            space = self._find(reference)
            if space is self._kernel.host:
                self._in_host.add(container)
            elif space:
                self.places[container] = space
            elif not reference.create:
                self._pending[container] = f"there is no {reference}"
        known = {space.cookie for space in self.places.values()}
        for space in self._kernel.spaces():
            project, _, container = (space.devices["lo"].alias or "").removeprefix(ALIAS).partition("/")
            if space.cookie in known:
                continue
            free = container not in self._scope.sandboxes and container not in self.places
            ours = project == self._scope.project and free
            self.places[container if ours else f"@{space.cookie}"] = space

    def _find(self, reference: SandboxRef) -> Space | None:
        match reference.kind:
            case "netns":
                return self._kernel.names.get(reference.value)
            case "pid":
                return self._kernel.pids.get(int(reference.value))
            case _:
                return self._kernel.host

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
        if first is None or first.space.devices.get(first.name) is not first:
            first = self._first[path] = device
        return path if first is device else self._half_made(device)

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
            yield Netns(symbol, where, not ours, space.devices["lo"].up, busy=space.cookie in pids)

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

    def _peer(self, end: Device, path: str) -> Peer:
        return Peer(self._symbol(end.space, path), end.name, end.mtu, end.mac, end.up, end.ipv6)

    def _reference(self, device: Device | None) -> str | None:
        return None if device is None else self.path(device) or f"/{device.name}"

    def _routes(self) -> Iterator[Route]:
        for space in {one.cookie: one for one in self.places.values()}.values():
            for hop in space.routes.values():
                if hop.protocol == ROUTE_PROTOCOL:
                    path = self._over(hop.device)
                    yield Route(self._symbol(space, path or ""), hop.destination, hop.via, path, hop.metric, hop.type)

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
        prefixes = {hop.destination for hop in hops if hop not in out and hop.destination not in ("0.0.0.0/0", "::/0")}
        prefixes |= {_prefix(address) for one in others.values() for address in one.addresses if one.up}
        routers = [name for name in others if sysctls.get(f"net.ipv6.conf.{name}.accept_ra") == "1"]
        guard = self._kernel.tables.get(("inet", GUARD_TABLE))
        return Facts(
            links={name: _host_link(one) for name, one in others.items()},
            default_link=out[0].device.name if out and out[0].device else None,
            routes=tuple(sorted(prefixes)),
            nameservers=nameservers,
            pending=self._pending,
            in_host=frozenset(self._in_host),
            taken=dict(self._taken()),
            forwarding_ipv4=sysctls["net.ipv4.ip_forward"] == "1",
            forwarding_ipv6=sysctls["net.ipv6.conf.all.forwarding"] == "1",
            accept_ra=tuple(routers),
            guard=guard_of(guard) if guard and owner_of(guard) == "" else {},
        )

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
            for hop in space.routes.values():
                if hop.protocol != ROUTE_PROTOCOL:
                    route = Route(symbol, hop.destination, metric=hop.metric)
                    yield route.key, "a route that netapply did not make"
        for container, reference in self._scope.sandboxes.items():
            found = self.places.get(container)
            if reference.create and found and not (found.devices["lo"].alias or "").startswith(ALIAS + self.project):
                yield Key("netns", container), f"{reference} is there and netapply did not make it"
        for (family, name), text in self._kernel.tables.items():
            if name in (table_name(self.project), GUARD_TABLE) and owner_of(text) not in ("", self.project):
                yield NftTable(family, name, "").key, "a table that netapply did not make"


def _host_link(device: Device) -> HostLink:
    alias = device.alias or ""
    owner = alias.removeprefix(ALIAS).partition("/")[0] if alias.startswith(ALIAS) else None
    master = device.master.name if device.master else None
    return HostLink(device.name, device.kind, device.mtu, device.up, owner, tuple(device.addresses), master)


def _preference(hop: Hop) -> tuple[bool, int]:
    """IPv4 before IPv6, then the lower metric."""
    return ":" in hop.destination, hop.metric


def _prefix(address: str) -> str:
    return str(ip_interface(address).network)
