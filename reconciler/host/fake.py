"""A host in memory for tests: strict as a kernel, deterministic, and open to whoever wants to look or to meddle.

Ours is told from foreign as on a real host, by marks: the alias of a link, the alias of a namespace's `lo`, a route's
protocol number, the name of a table. A test makes foreign objects with `host.kernel`, which knows nothing of marks.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ..errors import HostLacks, LockHeld, OperationFailed
from ..plan import Change, Create, Delete, Update
from ..resources import (
    ALIAS,
    LINK_GROUP,
    ROUTE_PROTOCOL,
    UPLINK,
    VLANS,
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
    State,
    Sysctl,
    Wireguard,
    WireguardPeer,
    state,
    value_of,
    within,
)
from . import Filter, Listener, Observation, Result, Scope, fake_neighbours, fake_shaping, fake_wireguard, listeners
from .fake_kernel import Kernel
from .fake_links import Device, Hop, Space, refuse
from .fake_names import Files
from .fake_plugins import Plugins
from .fake_view import View


class FakeHost:
    """A host in memory; see `reconciler.host.Host` for the contract.

    `trap` is called ahead of every single operation with words for it, and may raise OSError, which then is what the
    kernel answers. A change can take several operations. Up to `batch` changes are made before the first one's result
    is known. `writes` counts the changes that were made. `locked`: somebody else holds the lock. `keys` are the public
    keys of the private ones in files. `listening` is who has ports of the host, other projects aside.
    `resolved` are the containers with a resolver of Docker's.
    """

    def __init__(self, trap: Callable[[str], None] | None = None, batch: int = 1) -> None:
        self.kernel = Kernel()
        self.kernel.host.devices["lo"].up = True
        self.kernel.before = lambda: self.trap(self._doing) if self.trap else None
        self.plugins = Plugins()
        self.names = Files()
        self.trap = trap
        self.batch = batch
        self.writes = 0
        self.locked = False
        self.nameservers: tuple[str, ...] = ()
        self.resolved: dict[str, str] = {}
        self.listening: list[Listener] = []
        self.keys: dict[str, str] = {}
        self._kept_keys: dict[str, str] = {}
        self._doing = ""
        self._view = View(self.kernel, Scope("", {}), {})
        self._held: dict[str, Space] = {}

    def observe(self, scope: Scope) -> Observation:
        self._view = View(self.kernel, scope, self.plugins.cookies)
        found = [*self._view.resources(), *self.plugins.seen(self._view), *self.names.seen(self._view)]
        facts = self._view.facts(self.nameservers)
        facts = replace(facts, taken={**facts.taken, **self.names.taken(self._view)})
        if scope.publishes is not None:
            others = listeners.of_projects(scope.project, self.kernel.tables.values())
            facts = replace(facts, listening=(*self.listening, *others))
        if scope.named:
            usable = tuple(one for one in self.nameservers if not one.startswith(("127.", "::1", "fe80:")))
            facts = replace(facts, busy_ports=self.names.busy_ports(), upstreams=usable, resolved=self.resolved)
        return Observation(state(found), facts)

    def addresses(self) -> frozenset[str]:
        links = self.kernel.host.devices.values()
        return frozenset(address.partition("/")[0] for link in links for address in link.addresses)

    def observe_near(self, scope: Scope, containers: Collection[str]) -> State:
        view = View(self.kernel, scope, self.plugins.cookies)
        return within(state([*view.resources(), *self.plugins.seen(view), *self.names.seen(view)]), containers)

    def lacking(self, kinds: Collection[str]) -> Collection[str]:
        return [kind for kind in kinds if kind in self.kernel.lacks]

    def filters(self) -> Sequence[Filter]:
        return self.kernel.filters

    def make_key(self, path: str) -> bool:
        return fake_wireguard.make_key(self.keys, path)

    def public_key(self, path: str) -> str:
        return fake_wireguard.public_key(self.keys, path)

    def canonical(self, desired: State) -> State:
        """Return the desired state with nft texts as this host lists them: no blank lines, no trailing blanks."""
        return {
            key: replace(one, text=_listed(one.text)) if isinstance(one, NftTable) else one
            for key, one in desired.items()
        }

    def apply(self, changes: Sequence[Change]) -> Iterator[Result]:
        self._kept_keys |= {
            one.public_key: one.public_key for one in self.kernel.host.devices.values() if one.public_key
        }
        batch: list[Change] = []
        for change in changes:
            wanted = change.before if isinstance(change, Delete) else change.after
            if len(batch) == self.batch or not {one.key for one in batch}.isdisjoint(wanted.requires):
                yield from [self._attempt(one) for one in batch]
                batch = []
            batch.append(change)
        yield from [self._attempt(one) for one in batch]

    @contextmanager
    def lock(self, timeout: float) -> Iterator[None]:
        if self.locked:
            raise LockHeld("another run holds the lock; wait for it, or use a longer --lock-timeout")
        self.locked = True
        try:
            yield
        finally:
            self.locked = False

    def release(self) -> None:
        for space in self._held.values():
            self.kernel.destroy(space)
        self._held.clear()
        self._kept_keys.clear()

    def snapshot(self) -> Mapping[str, object]:
        """Return everything there is, foreign or not, as values that can be compared."""
        named = {"": self.kernel.host, **{f"netns:{name}": space for name, space in self.kernel.names.items()}}
        named |= {f"pid:{number}": space for number, space in self.kernel.pids.items()}
        labels = {space.cookie: label for label, space in reversed(named.items())}
        held = {f"held:{name}": _contents(space, labels) for name, space in self._held.items()}
        return {
            **{label: _contents(space, labels) for label, space in named.items()},
            **held,
            "plugins": self.plugins.snapshot(labels),
            "names": self.names.snapshot(),
            "sysctls": dict(self.kernel.sysctls),
            "tables": dict(self.kernel.tables),
            "tables in sandboxes": {
                label: dict(space.tables)
                for label, space in named.items()
                if space.tables and space is not self.kernel.host
            },
            "docker": {family: dict(rules) for family, rules in self.kernel.docker.items()},
        }

    # Acting

    def _attempt(self, change: Change) -> Result:
        self._doing = f"{type(change).__name__.lower()} {change.key}"
        try:
            self._make(change)
        except OSError as refusal:
            return Result(change, OperationFailed(f"{self._doing}: {refusal.strerror}", refusal.errno or 0))
        self.writes += 1
        return Result(change)

    def _make(self, change: Change) -> None:
        match change:
            case Create(after=Delegated() as after):
                self.plugins.create(self._view, after, self.kernel.before)
            case Update(after=Delegated() as after):
                self.plugins.update(self._view, after, self.kernel.before)
            case Delete(before=Delegated() as before):
                self.plugins.delete(self._view, before, self.kernel.before)
            case Create(after=Accepts() as accepts) | Update(after=Accepts() as accepts):
                self.kernel.accept(self._view.project, accepts.family, accepts.rules)
            case Delete(before=Accepts() as accepts):
                self.kernel.accept(self._view.project, accepts.family, ())
            case Create(after=Shaper() as shaper):
                fake_shaping.change(self.kernel, self._device, shaper, ("rate", "redirect"))
            case Update(after=Shaper() as shaper, fields=fields):
                fake_shaping.change(self.kernel, self._device, shaper, fields)
            case Delete(before=Shaper() as shaper):
                fake_shaping.remove(self.kernel, self._device, shaper)
            case Create(after=DnsHosts() | DnsServer() | ResolvConf() as after):
                self.names.create(self._view, after, self.kernel.before)
            case Update(after=DnsHosts() | DnsServer() | ResolvConf() as after):
                self.names.update(self._view, after, self.kernel.before)
            case Delete(before=DnsHosts() | DnsServer() | ResolvConf() as before):
                self.names.delete(self._view, before, self.kernel.before)
            case Create(after=after):
                self._create(after)
            case Update(after=after, fields=fields):
                self._update(after, fields)
            case Delete(before=before):
                self._delete(before)

    def _create(self, after: Resource) -> None:
        kernel = self.kernel
        match after:
            case Netns():
                self._create_namespace(after)
            case Link():
                self._create_link(after)
            case Port(name=name, master=master):
                port, bridge = self._device(f"/{name}"), self._device(master)
                if port.master not in (None, bridge):
                    raise refuse(errno.EBUSY)
                kernel.set_master(port, bridge)
                self._view.uplinks[after.path] = f"/{name}"
                if port.up != after.up:
                    kernel.set_up(port, after.up)
            case BridgeVlan():
                kernel.set_vlan(self._device(after.link), after.vid, after.pvid, after.untagged)
            case FdbEntry():
                fake_neighbours.add_entry(kernel, self._device(after.link), after)
            case Neighbour():
                fake_neighbours.set_neighbour(kernel, self._device(after.link), after)
            case Wireguard() | WireguardPeer():
                self._set_tunnel(after)
            case Address(link=path, address=address):
                kernel.add_address(self._carrier(path), address, ROUTE_PROTOCOL)
            case Route():
                kernel.add_route(self._place(after.sandbox), self._hop(after))
            case Sysctl(name=name, value=value):
                with _existing(name):
                    kernel.write_sysctl(name, value)
            case NftTable(family=family, name=name, text=text, sandbox=sandbox):
                if (family, name) in self._place(sandbox).tables:
                    raise refuse(errno.EEXIST)
                kernel.load_table(self._place(sandbox), family, name, _listed(text))

    def _create_namespace(self, after: Netns) -> None:
        kind, _, name = after.reference.partition(":")
        if kind != "netns" or after.adopted:
            raise refuse(errno.ENOENT)
        if name in self.kernel.names:
            raise refuse(errno.EEXIST)
        space = self._held.get(name) or self.kernel.space()
        lo = space.devices["lo"]
        if name not in self._held:
            self.kernel.set_alias(lo, f"{ALIAS}{self._view.project}/{after.sandbox}")
        self.kernel.bind(name, space)
        self._held.pop(name, None)
        self._view.places[after.sandbox] = space
        if after.loopback_up is not None and lo.up != after.loopback_up:
            self.kernel.set_up(lo, after.loopback_up)

    def _create_link(self, after: Link) -> None:
        peer, kernel = after.peer, self.kernel
        inside = (self._place(peer.sandbox), peer.name, peer.mtu, peer.mac) if peer else None
        device = kernel.add_link(
            self._place(after.sandbox),
            after.name,
            after.kind,
            mtu=after.mtu,
            mac=after.mac,
            parent=self._device(after.parent) if after.parent else None,
            options=after.options,
            peer=inside,
            group=LINK_GROUP,
        )
        master = self._device(after.master) if after.master else None
        kernel.set_alias(device, f"{ALIAS}{self._view.project}/{after.path}", after.tags)
        if master:
            kernel.set_master(device, master)
            self._leave_vlans(device, after)
        for name, option in after.port.items():
            kernel.set_port(device, name, option)
        for name, value in after.sysctls.items():
            with _existing(name):
                kernel.set_sysctl(device.peer or device, name, value)
        if after.ipv6 is not None:
            kernel.set_ipv6(device, after.ipv6)
        if device.peer and peer and peer.ipv6 is not None:
            kernel.set_ipv6(device.peer, peer.ipv6)
        if device.peer and peer and peer.up:
            kernel.set_up(device.peer, True)
        if after.up:
            kernel.set_up(device, True)

    def _update(self, after: Resource, fields: Sequence[str]) -> None:
        match after:
            case Link():
                device = self._device(after.path)
                marked = VLANS in device.tags
                for name in fields:
                    self._set(device, after, name)
                if "master" in fields or ("tags" in fields and not marked):
                    self._leave_vlans(device, after)
            case Port(name=name, up=up):
                self.kernel.set_up(self._device(f"/{name}"), up)
            case BridgeVlan():
                self.kernel.set_vlan(self._device(after.link), after.vid, after.pvid, after.untagged)
            case FdbEntry():
                fake_neighbours.add_entry(self.kernel, self._device(after.link), after, update=True)
            case Neighbour():
                fake_neighbours.set_neighbour(self.kernel, self._device(after.link), after)
            case Wireguard() | WireguardPeer():
                self._set_tunnel(after)
            case Netns():
                lo = self._place(after.sandbox).devices["lo"]
                if "loopback_up" in fields:
                    self.kernel.set_up(lo, bool(after.loopback_up))
                if "adopted" in fields:
                    self.kernel.set_alias(lo, None if after.adopted else f"{ALIAS}{self._view.project}/{after.sandbox}")
            case Route():
                self.kernel.replace_route(self._place(after.sandbox), self._hop(after))
            case Sysctl(name=name, value=value):
                with _existing(name):
                    self.kernel.write_sysctl(name, value)
            case NftTable(family=family, name=name, text=text, sandbox=sandbox):
                if (family, name) not in self._place(sandbox).tables:
                    raise refuse(errno.ENOENT)
                self.kernel.load_table(self._place(sandbox), family, name, _listed(text))
            case _:
                raise refuse(errno.EOPNOTSUPP)

    def _set(self, device: Device, after: Link, name: str) -> None:
        """Change one field of a link, and no other."""
        kernel, value = self.kernel, value_of(after, name)
        head, _, rest = name.partition(".")
        if head == "peer":
            if device.peer is None or after.peer is None or not rest:
                raise refuse(errno.EOPNOTSUPP)
            device, head = device.peer, rest
        match head, value:
            case "name", str():
                self._rename(device, value)
            case "mtu", int():
                kernel.set_mtu(device, value)
            case "mac", str():
                kernel.set_mac(device, value)
            case "up", bool():
                kernel.set_up(device, value)
            case "ipv6", bool():
                kernel.set_ipv6(device, value)
            case "master", _:
                kernel.set_master(device, self._device(after.master) if after.master else None)
            case "options", str() | int():
                kernel.set_option(device, rest, value)
            case "port", str() | int():
                kernel.set_port(device, rest, value)
            case "sysctls", str() | None:
                with _existing(name):
                    kernel.set_sysctl(device.peer or device, rest, value)
            case "tags", _:
                kernel.set_alias(device, device.alias, after.tags)
            case _:
                raise refuse(errno.EOPNOTSUPP)

    def _set_tunnel(self, after: Wireguard | WireguardPeer) -> None:
        device = self._device(after.link)
        if isinstance(after, WireguardPeer):
            fake_wireguard.set_peer(self.kernel, device, after)
        else:
            fake_wireguard.set_identity(self.kernel, device, after, self.keys, self._kept_keys)

    def _leave_vlans(self, device: Device, after: Link) -> None:
        """Take a new port out of the VLAN that its bridge gives to all, where the manifest says in which it is."""
        if device.master and VLANS in after.tags:
            for vid in list(device.vlans):
                self.kernel.remove_vlan(device, vid)

    def _rename(self, device: Device, name: str) -> None:
        if self.kernel.live_rename or not device.up:
            self.kernel.rename(device, name)
            return
        self.kernel.set_up(device, False)
        self.kernel.rename(device, name)
        self.kernel.set_up(device, True)

    def _delete(self, before: Resource) -> None:
        match before:
            case Netns(reference=reference, adopted=adopted):
                name = reference.removeprefix("netns:")
                space = self.kernel.names.get(name)
                if adopted or space in self.kernel.pids.values() or (space and self.names.lives_in(space.cookie)):
                    raise refuse(errno.EBUSY)
                self._held[name] = self.kernel.unbind(name)
            case Link(path=path):
                self.kernel.remove_link(self._device(path))
            case Port(name=name, master=master):
                port = self._device(f"/{name}")
                if port.master is self._device(master):
                    if not before.found_up:
                        self.kernel.set_up(port, False)
                    self.kernel.set_master(port, None)
            case BridgeVlan(link=path, vid=vid):
                self.kernel.remove_vlan(self._device(path), vid)
            case FdbEntry():
                fake_neighbours.remove_entry(self.kernel, self._device(before.link), before)
            case Neighbour():
                fake_neighbours.remove_neighbour(self.kernel, self._device(before.link), before)
            case WireguardPeer():
                fake_wireguard.remove_peer(self.kernel, self._device(before.link), before)
            case Wireguard():
                nobody = Wireguard(before.link, "", 0)
                fake_wireguard.set_identity(self.kernel, self._device(before.link), nobody, self.keys, self._kept_keys)
            case Address(link=path, address=address):
                self.kernel.remove_address(self._carrier(path), address)
            case Route():
                self.kernel.remove_route(self._place(before.sandbox), before.destination, before.metric)
            case NftTable(family=family, name=name, sandbox=sandbox):
                self.kernel.remove_table(self._place(sandbox), family, name)
            case Sysctl():
                raise refuse(errno.EOPNOTSUPP)

    def _place(self, symbol: str) -> Space:
        if symbol not in self._view.places:
            raise refuse(errno.ENOENT)
        return self._view.places[symbol]

    def _device(self, reference: str) -> Device:
        """Return the link of a reference: a path of ours, or "/NAME" in the host's namespace."""
        if reference.endswith(UPLINK):
            reference = self._view.uplinks.get(reference, reference)
        if reference.startswith("/"):
            found = self.kernel.host.devices.get(reference[1:])
        else:
            everywhere = (one for space in self._view.places.values() for one in space.devices.values())
            found = next((one for one in everywhere if self._view.path(one) == reference), None)
        if found is None:
            raise refuse(errno.ENODEV)
        return found

    def _carrier(self, path: str) -> Device:
        """Return the end of a link that carries addresses."""
        device = self._device(path)
        return device.peer or device

    def _hop(self, route: Route) -> Hop:
        device = self._carrier(route.link) if route.link else None
        return Hop(route.destination, route.metric, route.via, device, route.type, ROUTE_PROTOCOL, route.onlink)


@contextmanager
def _existing(setting: str) -> Iterator[None]:
    """Take a setting that the kernel does not know for something that the host lacks."""
    try:
        yield
    except FileNotFoundError as missing:
        raise HostLacks(f"the kernel has no setting {setting}") from missing


def _listed(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines() if line.strip())


def _contents(space: Space, labels: Mapping[int, str]) -> object:
    """Return what is in a namespace, as values."""

    def name(device: Device | None) -> tuple[str, str] | None:
        return None if device is None else (labels.get(device.space.cookie, "unreachable"), device.name)

    links = {
        one.name: (
            *(one.kind, one.mtu, one.mac, one.up, name(one.master), name(one.parent), name(one.peer)),
            *(dict(one.options), dict(one.port), dict(one.vlans), one.ipv6, dict(one.addresses), dict(one.sysctls)),
            *(dict(one.fdb), set(one.static), dict(one.neighbours)),
            *(one.public_key, one.port_number, dict(one.peers)),
            *(one.queue, one.foreign_queue, one.filtered, name(one.redirected)),
            *(one.group, one.alias, one.tags),
        )
        for one in space.devices.values()
    }
    routes = {key: (hop.via, name(hop.device), hop.type, hop.protocol) for key, hop in space.routes.items()}
    return links, routes
