"""A kernel's networking in memory, as strict as the real one: what `reconciler.host.fake` stands on.

It knows nothing of netapply. What it refuses (`reconciler.host.fake_rules`), with which errno, and what goes along with
what, is Linux's: the rules come from net/core/rtnetlink.c, net/core/dev.c, net/bridge/br_if.c,
drivers/net/{veth,macvlan}.c, net/ipv4/devinet.c, fib_semantics.c and net/ipv6/{addrconf,route}.c, and a conformance
test compares both.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator, Mapping

from ..resources import Option
from . import Filter, Rule, fake_rules, fake_uppers
from .fake_links import IPV6_MIN_MTU, KINDS, OPTIONS, PORT, SETTINGS, Device, Hop, Space, refuse


class Kernel:
    """Namespaces and all that is in them. Whatever is refused is an OSError.

    `names` are the bound namespaces (/run/netns), `pids` those of processes. `runtimes` are the containers of
    runtimes as a manifest names them ("docker:web"), with their processes, 0 for one that does not run. `before` is
    called ahead of every write, and may raise. `live_rename`: links that are up can be renamed (since Linux 6.2).
    `lacks` are kinds of link that it can't make. `docker` are the families in which Docker has a chain for others, with
    each project's rules there, `filters` the base chains of others, `rules` those of their policy routing. `sysctls`
    and `tables` (by family and name) are the host's.
    """

    def __init__(self) -> None:
        self.before: Callable[[], None] = lambda: None
        self.live_rename = False
        self.lacks: set[str] = set()
        self.names: dict[str, Space] = {}
        self.pids: dict[int, Space] = {}
        self.runtimes: dict[str, int] = {}
        self.sysctls = {"net.ipv4.ip_forward": "0", "net.ipv6.conf.all.forwarding": "0"}
        self.docker: dict[int, dict[str, tuple[str, ...]]] = {}
        self.filters: list[Filter] = []
        self.rules: list[Rule] = []
        self._numbers = 0
        self._spaces: list[Space] = []
        self.host = self.space()
        self.tables = self.host.tables

    # Namespaces

    def space(self) -> Space:
        """Return a new namespace that has no name yet."""
        space = Space(cookie=self._number())
        space.devices["lo"] = Device(space, "lo", "loopback", 65536, "00:00:00:00:00:00")
        self._spaces.append(space)
        return space

    def bind(self, name: str, space: Space) -> None:
        self.before()
        if name in self.names:
            raise refuse(errno.EEXIST)
        self.names[name] = space

    def unbind(self, name: str) -> Space:
        """Take the name away, and leave the namespace to whoever still holds it."""
        self.before()
        if name not in self.names:
            raise refuse(errno.ENOENT)
        return self.names.pop(name)

    def destroy(self, space: Space) -> None:
        """What happens once nobody holds a namespace: all in it goes, and so do the other ends of veth pairs."""
        for device in list(space.devices.values()):
            self._drop(device)
        self._spaces.remove(space)

    def spaces(self) -> Iterator[Space]:
        """Yield the namespaces that can be reached, each once."""
        yield from {space.cookie: space for space in (self.host, *self.names.values(), *self.pids.values())}.values()

    # Links

    def add_link(
        self,
        space: Space,
        name: str,
        kind: str,
        *,
        mtu: int | None = None,
        mac: str | None = None,
        parent: Device | None = None,
        options: Mapping[str, Option] | None = None,
        peer: tuple[Space, str, int | None, str | None] | None = None,
        group: int = 0,
    ) -> Device:
        """Make a link, for a veth its other end too: its namespace, name, MTU and MAC."""
        self.before()
        if kind not in KINDS or kind in self.lacks or (kind == "veth") != (peer is not None):
            raise refuse(errno.EOPNOTSUPP)
        fake_rules.check_name(space, name)
        device = Device(space, name, kind, mtu or KINDS[kind], mac or self._mac(), group=group)
        fake_rules.check_mac(device.mac)
        device.options = {**OPTIONS.get(kind, {}), **(options or {})}
        if kind == "vxlan":
            fake_rules.check_vxlan(device, self.devices())
        fake_uppers.stand_on(device, parent, mtu, self.devices())
        if kind == "vlan" and parent and mac is None:
            device.mac = parent.mac
        fake_rules.check_mtu(device.mtu)
        if peer:
            device.peer = self._peer(device, *peer)
        if kind == "bridge":
            _join_default_vlan(device, device)
        for end in (device, device.peer):
            if end:
                end.space.devices[end.name] = end
        return device

    def _peer(self, device: Device, space: Space, name: str, mtu: int | None, mac: str | None) -> Device:
        if (space, name) == (device.space, device.name):
            raise refuse(errno.EEXIST)
        fake_rules.check_name(space, name)
        peer = Device(space, name, "veth", mtu or KINDS["veth"], mac or self._mac(), peer=device)
        fake_rules.check_mac(peer.mac)
        fake_rules.check_mtu(peer.mtu)
        return peer

    def rename(self, device: Device, name: str) -> None:
        self.before()
        if name == device.name:
            return
        if device.up and not self.live_rename:
            raise refuse(errno.EBUSY)
        fake_rules.check_name(device.space, name)
        del device.space.devices[device.name]
        device.name = name
        device.space.devices[name] = device

    def set_up(self, device: Device, up: bool) -> None:
        """Take a link up or down; going down, IPv6 addresses and all routes over it go."""
        self.before()
        if up and not device.up:
            fake_uppers.check_up(device)
            if device.kind == "macvlan" and device.options["mode"] != "passthru":
                fake_rules.check_free(device, device.mac, self.devices())
        if device.up != up:
            self._turn(device, up)

    def _turn(self, device: Device, up: bool) -> None:
        """Take a link up or down, and the VLANs on it along."""
        if not up:
            self._flush_ipv6(device)
            self._flush(device)
            device.neighbours.clear()
        device.up = up
        for upper in list(self.devices()):
            if upper.parent is device and upper.kind == "vlan" and upper.up != up:
                self._turn(upper, up)

    def set_mtu(self, device: Device, mtu: int) -> None:
        """Change it, and that of those links on it which follow; below IPv6's minimum all of IPv6 leaves the link."""
        self.before()
        fake_rules.check_mtu(mtu)
        fake_uppers.check_mtu(device, mtu)
        for one in list(fake_uppers.resized(device, mtu, list(self.devices()))):
            one.mtu = mtu
            if mtu < IPV6_MIN_MTU:
                self._flush_ipv6(one)
                self._flush(one, family=6)
                _forget(one, ":")

    def set_mac(self, device: Device, mac: str) -> None:
        self.before()
        fake_rules.check_mac(mac)
        if device.kind == "ipvlan":
            raise refuse(errno.EOPNOTSUPP)
        if device.kind == "macvlan" and device.up and mac != device.mac:
            fake_rules.check_free(device, mac, self.devices())
        if mac == device.mac:
            return
        for one in list(fake_uppers.with_its_mac(device, list(self.devices()))):
            one.neighbours.clear()
            one.mac = mac

    def set_master(self, device: Device, master: Device | None) -> None:
        """Put a link into a bridge, out of the one where it is now; what was set of the port is lost."""
        self.before()
        if master is device.master:
            return
        device.master, device.port, device.vlans, device.static = None, {}, {}, set()
        if master:
            fake_rules.check_port(device, master, self.devices())
            device.master, device.port = master, dict(PORT)
            _join_default_vlan(device, master)

    def set_port(self, device: Device, name: str, value: Option) -> None:
        self.before()
        if not device.master or name not in PORT:
            raise refuse(errno.EOPNOTSUPP)
        device.port[name] = value

    def set_option(self, device: Device, name: str, value: Option) -> None:
        self.before()
        if name not in device.options:
            raise refuse(errno.EOPNOTSUPP)
        if name == "mode" and value != device.options[name] and "passthru" in (value, device.options[name]):
            raise refuse(errno.EINVAL)
        if name in ("id", "port", "protocol") and value != device.options[name]:
            raise refuse(errno.EOPNOTSUPP)
        fake_uppers.share(device, name, value, self.devices())
        if name == "vlan_default_pvid":
            for one in (device, *(port for port in device.space.devices.values() if port.master is device)):
                one.vlans = {vid: how for vid, how in one.vlans.items() if how != (True, True)}
                _join_default_vlan(one, device)

    def set_vlan(self, device: Device, vid: int, pvid: bool, untagged: bool) -> None:
        """Put a bridge or a port into a VLAN, or change how it is in it. Only one is that of frames without a tag."""
        self.before()
        if device.kind != "bridge" and not device.master:
            raise refuse(errno.EOPNOTSUPP)
        if pvid:
            device.vlans = {other: (False, without) for other, (_, without) in device.vlans.items()}
        device.vlans[vid] = (pvid, untagged)

    def remove_vlan(self, device: Device, vid: int) -> None:
        """Take it out; that it is not in it is no error."""
        self.before()
        if device.kind != "bridge" and not device.master:
            raise refuse(errno.EOPNOTSUPP)
        device.vlans.pop(vid, None)

    def set_sysctl(self, device: Device, name: str, value: str | None) -> None:
        """Write a setting of the link under net.ipv4 or net.ipv6, None: what the kernel starts with."""
        self.before()
        if name not in SETTINGS:
            raise refuse(errno.ENOENT)
        device.sysctls.pop(name, None)
        if value is not None:
            device.sysctls[name] = value

    def set_ipv6(self, device: Device, ipv6: bool) -> None:
        self.before()
        device.ipv6 = ipv6

    def set_alias(self, device: Device, alias: str | None, tags: tuple[str, ...] = ()) -> None:
        self.before()
        device.alias, device.tags = alias, tags

    def remove_link(self, device: Device) -> None:
        """Delete a link, its other end, what stands on it, and what it carries; ports of a bridge are let go."""
        self.before()
        if device.space.devices.get(device.name) is not device:
            raise refuse(errno.ENODEV)
        if device.kind not in KINDS:
            raise refuse(errno.EOPNOTSUPP)
        self._drop(device)

    def _drop(self, device: Device) -> None:
        if device.space.devices.get(device.name) is not device:
            return
        del device.space.devices[device.name]
        self._flush(device)
        for other in list(self.devices()):
            if other.master is device:
                other.master, other.port, other.vlans, other.static = None, {}, {}, set()
            if other.parent is device or other.peer is device:
                self._drop(other)

    # Addresses and routes

    def add_address(self, device: Device, address: str, protocol: int = 0) -> None:
        self.before()
        if ":" in address:
            if device.mtu < IPV6_MIN_MTU:
                raise refuse(errno.EINVAL)
            taken = any(have.partition("/")[0] == address.partition("/")[0] for have in device.addresses)
        else:
            taken = address in device.addresses
        if taken:
            raise refuse(errno.EEXIST)
        fake_uppers.check_address(device, address, self.devices())
        device.addresses[address] = protocol

    def remove_address(self, device: Device, address: str) -> None:
        """Delete it. With the last IPv4 address all IPv4 routes over the link go (fib_disable_ip)."""
        self.before()
        if address not in device.addresses:
            raise refuse(errno.EADDRNOTAVAIL)
        del device.addresses[address]
        if ":" not in address and not any(":" not in have for have in device.addresses):
            self._flush(device, family=4)
            _forget(device, ".")

    def add_route(self, space: Space, hop: Hop) -> None:
        self.before()
        fake_rules.check_hop(space, hop)
        if (hop.destination, hop.metric) in space.routes:
            raise refuse(errno.EEXIST)
        space.routes[hop.destination, hop.metric] = hop

    def replace_route(self, space: Space, hop: Hop) -> None:
        self.before()
        fake_rules.check_hop(space, hop)
        if (hop.destination, hop.metric) not in space.routes:
            raise refuse(errno.ENOENT)
        space.routes[hop.destination, hop.metric] = hop

    def remove_route(self, space: Space, destination: str, metric: int) -> None:
        self.before()
        if (destination, metric) not in space.routes:
            raise refuse(errno.ESRCH)
        del space.routes[destination, metric]

    def _flush(self, device: Device, family: int = 0) -> None:
        """Drop the routes over a link, those of one family only unless it is 0."""
        for key, hop in list(device.space.routes.items()):
            if hop.device is device and family in (0, 6 if ":" in hop.destination else 4):
                del device.space.routes[key]

    def _flush_ipv6(self, device: Device) -> None:
        device.addresses = {address: number for address, number in device.addresses.items() if ":" not in address}

    # Settings and tables of the host

    def write_sysctl(self, name: str, value: str) -> None:
        self.before()
        if name not in self.sysctls:
            raise refuse(errno.ENOENT)
        self.sysctls[name] = value

    def load_table(self, space: Space, family: str, name: str, text: str) -> None:
        """Replace the table by `text`, in one transaction."""
        self.before()
        if not text.startswith(f"table {family} {name} {{") or text.count("{") != text.count("}"):
            raise refuse(errno.EINVAL)
        space.tables[family, name] = text

    def remove_table(self, space: Space, family: str, name: str) -> None:
        self.before()
        if (family, name) not in space.tables:
            raise refuse(errno.ENOENT)
        del space.tables[family, name]

    def accept(self, project: str, family: int, rules: tuple[str, ...]) -> None:
        """Have those rules of a project in Docker's chain, and no other, in one transaction."""
        self.before()
        if family not in self.docker:
            raise refuse(errno.ENOENT)
        self.docker[family].pop(project, None)
        if rules:
            self.docker[family][project] = rules

    # Small things

    def devices(self) -> Iterator[Device]:
        """Yield every link, those in namespaces that only a descriptor holds too."""
        for space in self._spaces:
            yield from space.devices.values()

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _mac(self) -> str:
        return ":".join(re.findall("..", f"{0x02FF << 32 | self._number():012x}"))


def _join_default_vlan(device: Device, bridge: Device) -> None:
    """Have a new port, or the bridge itself, in the VLAN that the bridge gives to all."""
    if number := int(bridge.options.get("vlan_default_pvid", 0)):
        device.vlans[number] = (True, True)


def _forget(device: Device, sign: str) -> None:
    """Drop the neighbours whose addresses have that sign in them: those of a family."""
    device.neighbours = {address: one for address, one in device.neighbours.items() if sign not in address}
