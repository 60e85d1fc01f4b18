"""What the changes of a plan are in a kernel in memory: which of its operations, in which order.

As on a real host a change can take several operations, and one that fails, or a run that is killed, ends between two.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..errors import HostLacks
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
    Sysctl,
    Wireguard,
    WireguardPeer,
    value_of,
)
from . import Scope, fake_neighbours, fake_shaping, fake_wireguard
from .fake_kernel import Kernel
from .fake_links import Device, Hop, Space, refuse
from .fake_names import Files
from .fake_plugins import Plugins
from .fake_view import View


class Applying:
    """Makes changes, one at a time, for the project of `view`. What the kernel refuses is an OSError.

    `held` are the namespaces whose names were taken away, by name: they are there until released, so that rolling back
    brings them back.
    """

    def __init__(self, kernel: Kernel, plugins: Plugins, names: Files) -> None:
        self._kernel = kernel
        self._plugins = plugins
        self._names = names
        self._keys: Mapping[str, str] = {}
        self._kept_keys: dict[str, str] = {}
        self.view = View(kernel, Scope("", {}), {})
        self.held: dict[str, Space] = {}

    def begin(self, keys: Mapping[str, str]) -> None:
        """Take the files with private keys as they are now (`keys` are the public ones), and keep the keys that links
        have, which rolling back gives them without their files."""
        self._keys = keys
        links = self._kernel.host.devices.values()
        self._kept_keys |= {one.public_key: one.public_key for one in links if one.public_key}

    def release(self) -> None:
        """Let go of what rolling back would have needed."""
        for space in self.held.values():
            self._kernel.destroy(space)
        self.held.clear()
        self._kept_keys.clear()

    def make(self, change: Change) -> None:
        """Make one change. Raises OSError, and HostLacks for a setting that the kernel has not."""
        match change:
            case Create(after=Delegated() as after):
                self._plugins.create(self.view, after, self._kernel.before)
            case Update(after=Delegated() as after):
                self._plugins.update(self.view, after, self._kernel.before)
            case Delete(before=Delegated() as before):
                self._plugins.delete(self.view, before, self._kernel.before)
            case Create(after=Accepts() as accepts) | Update(after=Accepts() as accepts):
                self._kernel.accept(self.view.project, accepts.family, accepts.rules)
            case Delete(before=Accepts() as accepts):
                self._kernel.accept(self.view.project, accepts.family, ())
            case Create(after=Shaper() as shaper):
                fake_shaping.change(self._kernel, self._device, shaper, ("rate", "redirect"))
            case Update(after=Shaper() as shaper, fields=fields):
                fake_shaping.change(self._kernel, self._device, shaper, fields)
            case Delete(before=Shaper() as shaper):
                fake_shaping.remove(self._kernel, self._device, shaper)
            case Create(after=DnsHosts() | DnsServer() | ResolvConf() as after):
                self._names.create(self.view, after, self._kernel.before)
            case Update(after=DnsHosts() | DnsServer() | ResolvConf() as after):
                self._names.update(self.view, after, self._kernel.before)
            case Delete(before=DnsHosts() | DnsServer() | ResolvConf() as before):
                self._names.delete(self.view, before, self._kernel.before)
            case Create(after=after):
                self._create(after)
            case Update(after=after, fields=fields):
                self._update(after, fields)
            case Delete(before=before):
                self._delete(before)

    def _create(self, after: Resource) -> None:
        kernel = self._kernel
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
                self.view.uplinks[after.path] = f"/{name}"
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
                kernel.load_table(self._place(sandbox), family, name, listed(text))

    def _create_namespace(self, after: Netns) -> None:
        kind, _, name = after.reference.partition(":")
        if kind != "netns" or after.adopted:
            raise refuse(errno.ENOENT)
        if name in self._kernel.names:
            raise refuse(errno.EEXIST)
        space = self.held.get(name) or self._kernel.space()
        lo = space.devices["lo"]
        if name not in self.held:
            self._kernel.set_alias(lo, f"{ALIAS}{self.view.project}/{after.sandbox}")
        self._kernel.bind(name, space)
        self.held.pop(name, None)
        self.view.places[after.sandbox] = space
        if after.loopback_up is not None and lo.up != after.loopback_up:
            self._kernel.set_up(lo, after.loopback_up)

    def _create_link(self, after: Link) -> None:
        peer, kernel = after.peer, self._kernel
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
        kernel.set_alias(device, f"{ALIAS}{self.view.project}/{after.path}", after.tags)
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
                self._kernel.set_up(self._device(f"/{name}"), up)
            case BridgeVlan():
                self._kernel.set_vlan(self._device(after.link), after.vid, after.pvid, after.untagged)
            case FdbEntry():
                fake_neighbours.add_entry(self._kernel, self._device(after.link), after, update=True)
            case Neighbour():
                fake_neighbours.set_neighbour(self._kernel, self._device(after.link), after)
            case Wireguard() | WireguardPeer():
                self._set_tunnel(after)
            case Netns():
                lo = self._place(after.sandbox).devices["lo"]
                if "loopback_up" in fields:
                    self._kernel.set_up(lo, bool(after.loopback_up))
                if "adopted" in fields:
                    self._kernel.set_alias(lo, None if after.adopted else f"{ALIAS}{self.view.project}/{after.sandbox}")
            case Route():
                self._kernel.replace_route(self._place(after.sandbox), self._hop(after))
            case Sysctl(name=name, value=value):
                with _existing(name):
                    self._kernel.write_sysctl(name, value)
            case NftTable(family=family, name=name, text=text, sandbox=sandbox):
                if (family, name) not in self._place(sandbox).tables:
                    raise refuse(errno.ENOENT)
                self._kernel.load_table(self._place(sandbox), family, name, listed(text))
            case _:
                raise refuse(errno.EOPNOTSUPP)

    def _set(self, device: Device, after: Link, name: str) -> None:
        """Change one field of a link, and no other."""
        kernel, value = self._kernel, value_of(after, name)
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
            fake_wireguard.set_peer(self._kernel, device, after)
        else:
            fake_wireguard.set_identity(self._kernel, device, after, self._keys, self._kept_keys)

    def _leave_vlans(self, device: Device, after: Link) -> None:
        """Take a new port out of the VLAN that its bridge gives to all, where the manifest says in which it is."""
        if device.master and VLANS in after.tags:
            for vid in list(device.vlans):
                self._kernel.remove_vlan(device, vid)

    def _rename(self, device: Device, name: str) -> None:
        if self._kernel.live_rename or not device.up:
            self._kernel.rename(device, name)
            return
        self._kernel.set_up(device, False)
        self._kernel.rename(device, name)
        self._kernel.set_up(device, True)

    def _delete(self, before: Resource) -> None:
        match before:
            case Netns(reference=reference, adopted=adopted):
                name = reference.removeprefix("netns:")
                space = self._kernel.names.get(name)
                if adopted or space in self._kernel.pids.values() or (space and self._names.lives_in(space.cookie)):
                    raise refuse(errno.EBUSY)
                self.held[name] = self._kernel.unbind(name)
            case Link(path=path):
                self._kernel.remove_link(self._device(path))
            case Port(name=name, master=master):
                port = self._device(f"/{name}")
                if port.master is self._device(master):
                    if not before.found_up:
                        self._kernel.set_up(port, False)
                    self._kernel.set_master(port, None)
            case BridgeVlan(link=path, vid=vid):
                self._kernel.remove_vlan(self._device(path), vid)
            case FdbEntry():
                fake_neighbours.remove_entry(self._kernel, self._device(before.link), before)
            case Neighbour():
                fake_neighbours.remove_neighbour(self._kernel, self._device(before.link), before)
            case WireguardPeer():
                fake_wireguard.remove_peer(self._kernel, self._device(before.link), before)
            case Wireguard():
                nobody = Wireguard(before.link, "", 0)
                fake_wireguard.set_identity(
                    self._kernel, self._device(before.link), nobody, self._keys, self._kept_keys
                )
            case Address(link=path, address=address):
                self._kernel.remove_address(self._carrier(path), address)
            case Route():
                self._kernel.remove_route(self._place(before.sandbox), before.destination, before.metric)
            case NftTable(family=family, name=name, sandbox=sandbox):
                self._kernel.remove_table(self._place(sandbox), family, name)
            case Sysctl():
                raise refuse(errno.EOPNOTSUPP)

    def _place(self, symbol: str) -> Space:
        if symbol not in self.view.places:
            raise refuse(errno.ENOENT)
        return self.view.places[symbol]

    def _device(self, reference: str) -> Device:
        """Return the link of a reference: a path of ours, or "/NAME" in the host's namespace."""
        if reference.endswith(UPLINK):
            reference = self.view.uplinks.get(reference, reference)
        if reference.startswith("/"):
            found = self._kernel.host.devices.get(reference[1:])
        else:
            everywhere = (one for space in self.view.places.values() for one in space.devices.values())
            found = next((one for one in everywhere if self.view.path(one) == reference), None)
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


def listed(text: str) -> str:
    """Return the text of a table as this host lists it: no blank lines, no trailing blanks."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines() if line.strip())
