"""A kernel's networking in memory, as strict as the real one: what `reconciler.host.fake` stands on.

It knows nothing of netapply. What it refuses, with which errno, and what goes along with what, is Linux's: the rules
come from net/core/rtnetlink.c, net/core/dev.c, net/bridge/br_if.c, drivers/net/{veth,macvlan}.c, net/ipv4/devinet.c,
fib_semantics.c and net/ipv6/{addrconf,route}.c, and a conformance test compares both.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from typing import NamedTuple

from ..naming import IFNAMSIZ
from ..resources import Option

MAX_PORTS = 1023
IPV6_MIN_MTU = 1280
KINDS = {"veth": 1500, "bridge": 1500, "macvlan": 0}
"""The kinds of link that can be made, with the MTU that they get by themselves (0: the parent's)."""

SETTINGS = {"ipv4.conf.rp_filter", "ipv4.conf.log_martians", "ipv4.conf.arp_ignore", "ipv6.conf.accept_ra"}
"""Some of those that a link has under net.ipv4 and net.ipv6."""

OPTIONS: Mapping[str, Mapping[str, Option]] = {"macvlan": {"mode": "vepa", "bc_queue_len": 1000}}
PORT: Mapping[str, Option] = {"isolated": False, "hairpin": False}
"""What a link's kind and a bridge port have where nothing is said."""


@dataclass(slots=True, eq=False)
class Space:
    """A network namespace. `devices` are by name, `lo` among them; `routes` by destination and metric."""

    cookie: int
    devices: dict[str, Device] = field(default_factory=dict)
    routes: dict[tuple[str, int], Hop] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Device:
    """A link: one end of a veth pair is one. `addresses` have their protocol numbers (IFA_PROTO).

    `kind` "" is what hardware gives: it can't be made or deleted."""

    space: Space
    name: str
    kind: str
    mtu: int
    mac: str
    up: bool = False
    master: Device | None = None
    parent: Device | None = None
    peer: Device | None = None
    options: dict[str, Option] = field(default_factory=dict)
    port: dict[str, Option] = field(default_factory=dict)
    ipv6: bool = True
    addresses: dict[str, int] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    group: int = 0
    alias: str | None = None
    tags: tuple[str, ...] = ()


class Hop(NamedTuple):
    """A route of the main table. `device` is None for blackhole, unreachable and prohibit."""

    destination: str
    metric: int
    via: str | None
    device: Device | None
    type: str = "unicast"
    protocol: int = 4


def refuse(number: int) -> OSError:
    """Return the error of that errno, to be raised."""
    return OSError(number, os.strerror(number))


class Kernel:
    """Namespaces and all that is in them. Whatever is refused is an OSError.

    `names` are the bound namespaces (/run/netns), `pids` those of processes. `before` is called ahead of every write,
    and may raise. `live_rename`: links that are up can be renamed (since Linux 6.2). `sysctls` and `tables` (by family
    and name) are the host's.
    """

    def __init__(self) -> None:
        self.before: Callable[[], None] = lambda: None
        self.live_rename = False
        self.names: dict[str, Space] = {}
        self.pids: dict[int, Space] = {}
        self.sysctls = {"net.ipv4.ip_forward": "0", "net.ipv6.conf.all.forwarding": "0"}
        self.tables: dict[tuple[str, str], str] = {}
        self._numbers = 0
        self._spaces: list[Space] = []
        self.host = self.space()

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
        if kind not in KINDS or (kind == "veth") != (peer is not None):
            raise refuse(errno.EOPNOTSUPP)
        self._check_name(space, name)
        device = Device(space, name, kind, mtu or KINDS[kind], mac or self._mac(), group=group)
        _check_mac(device.mac)
        device.options = {**OPTIONS.get(kind, {}), **(options or {})}
        if kind == "macvlan":
            self._check_macvlan(device, parent, mtu)
        elif parent is not None:
            raise refuse(errno.EOPNOTSUPP)
        _check_mtu(device.mtu)
        if peer:
            device.peer = self._peer(device, *peer)
        for end in (device, device.peer):
            if end:
                end.space.devices[end.name] = end
        return device

    def _peer(self, device: Device, space: Space, name: str, mtu: int | None, mac: str | None) -> Device:
        if (space, name) == (device.space, device.name):
            raise refuse(errno.EEXIST)
        self._check_name(space, name)
        peer = Device(space, name, "veth", mtu or KINDS["veth"], mac or self._mac(), peer=device)
        _check_mac(peer.mac)
        _check_mtu(peer.mtu)
        return peer

    def _check_macvlan(self, device: Device, parent: Device | None, mtu: int | None) -> None:
        if parent is None:
            raise refuse(errno.EINVAL)
        uppers = [other for other in self._devices() if other.parent is parent]
        alone = device.options["mode"] == "passthru" or any(other.options["mode"] == "passthru" for other in uppers)
        device.mtu = parent.mtu if mtu is None else mtu
        if device.mtu > parent.mtu or parent.name == "lo" or (uppers and alone):
            raise refuse(errno.EINVAL)
        if parent.master:
            raise refuse(errno.EBUSY)
        device.parent = parent
        if device.options["mode"] == "passthru":
            device.mac = parent.mac

    def _check_port(self, device: Device, master: Device) -> None:
        if master.kind != "bridge":
            raise refuse(errno.EOPNOTSUPP)
        if device.kind == "bridge":
            raise refuse(errno.ELOOP)
        if device.kind == "loopback" or master.space is not device.space:
            raise refuse(errno.EINVAL)
        if any(other.parent is device for other in self._devices()):
            raise refuse(errno.EBUSY)
        if sum(other.master is master for other in master.space.devices.values()) >= MAX_PORTS:
            raise refuse(errno.EXFULL)

    def _check_name(self, space: Space, name: str) -> None:
        if len(name) > IFNAMSIZ:
            raise refuse(errno.ERANGE)
        if not re.fullmatch(r"[^\s/:]+", name) or name in (".", ".."):
            raise refuse(errno.EINVAL)
        if name in space.devices:
            raise refuse(errno.EEXIST)

    def rename(self, device: Device, name: str) -> None:
        self.before()
        if name == device.name:
            return
        if device.up and not self.live_rename:
            raise refuse(errno.EBUSY)
        self._check_name(device.space, name)
        del device.space.devices[device.name]
        device.name = name
        device.space.devices[name] = device

    def set_up(self, device: Device, up: bool) -> None:
        """Take a link up or down; going down, IPv6 addresses and all routes over it go."""
        self.before()
        if up and not device.up and device.parent and device.options["mode"] != "passthru":
            self._check_free(device, device.mac)
        if device.up and not up:
            self._flush_ipv6(device)
            self._flush(device)
        device.up = up

    def set_mtu(self, device: Device, mtu: int) -> None:
        """Change it, and lower that of the macvlans on it; below IPv6's minimum all of IPv6 leaves the link."""
        self.before()
        _check_mtu(mtu)
        if device.parent and mtu > device.parent.mtu:
            raise refuse(errno.EINVAL)
        for one in (device, *(upper for upper in self._devices() if upper.parent is device and upper.mtu > mtu)):
            one.mtu = mtu
            if mtu < IPV6_MIN_MTU:
                self._flush_ipv6(one)
                self._flush(one, family=6)

    def set_mac(self, device: Device, mac: str) -> None:
        self.before()
        _check_mac(mac)
        if device.parent and device.up and mac != device.mac:
            self._check_free(device, mac)
        device.mac = mac

    def _check_free(self, device: Device, mac: str) -> None:
        """Refuse a MAC that the parent has, or another macvlan on it that is up."""
        same = [
            other for other in self._devices() if other.parent is device.parent and other.up and other is not device
        ]
        if mac in {device.parent.mac if device.parent else "", *(other.mac for other in same)}:
            raise refuse(errno.EADDRINUSE)

    def set_master(self, device: Device, master: Device | None) -> None:
        """Put a link into a bridge, out of the one where it is now; what was set of the port is lost."""
        self.before()
        if master is device.master:
            return
        device.master, device.port = None, {}
        if master:
            self._check_port(device, master)
            device.master, device.port = master, dict(PORT)

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
        device.options[name] = value

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
        for other in list(self._devices()):
            if other.master is device:
                other.master, other.port = None, {}
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
        device.addresses[address] = protocol

    def remove_address(self, device: Device, address: str) -> None:
        """Delete it. With the last IPv4 address all IPv4 routes over the link go (fib_disable_ip)."""
        self.before()
        if address not in device.addresses:
            raise refuse(errno.EADDRNOTAVAIL)
        del device.addresses[address]
        if ":" not in address and not any(":" not in have for have in device.addresses):
            self._flush(device, family=4)

    def add_route(self, space: Space, hop: Hop) -> None:
        self.before()
        self._check_hop(space, hop)
        if (hop.destination, hop.metric) in space.routes:
            raise refuse(errno.EEXIST)
        space.routes[hop.destination, hop.metric] = hop

    def replace_route(self, space: Space, hop: Hop) -> None:
        self.before()
        self._check_hop(space, hop)
        if (hop.destination, hop.metric) not in space.routes:
            raise refuse(errno.ENOENT)
        space.routes[hop.destination, hop.metric] = hop

    def remove_route(self, space: Space, destination: str, metric: int) -> None:
        self.before()
        if (destination, metric) not in space.routes:
            raise refuse(errno.ESRCH)
        del space.routes[destination, metric]

    def _check_hop(self, space: Space, hop: Hop) -> None:
        """Refuse a route whose link is down, or whose next hop is not on that link."""
        ip_network(hop.destination)
        if hop.device is None:
            return
        ipv6 = ":" in hop.destination
        if hop.device.space is not space:
            raise refuse(errno.ENODEV)
        if hop.via is None or (hop.via.startswith("fe80:") and hop.device.up):
            if not hop.device.up:
                raise refuse(errno.ENETDOWN)
            return
        here = {have.partition("/")[0] for device in space.devices.values() for have in device.addresses}
        if ipv6 and hop.via in here and hop.device.up:
            raise refuse(errno.EINVAL)
        near = [ip_interface(have).network for have in hop.device.addresses]
        near += [ip_network(key[0]) for key, one in space.routes.items() if one.device is hop.device and not one.via]
        if not hop.device.up or not any(ip_address(hop.via) in network for network in near):
            raise refuse(errno.EHOSTUNREACH if ipv6 else errno.ENETUNREACH)

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

    def load_table(self, family: str, name: str, text: str) -> None:
        """Replace the table by `text`, in one transaction."""
        self.before()
        if not text.startswith(f"table {family} {name} {{") or text.count("{") != text.count("}"):
            raise refuse(errno.EINVAL)
        self.tables[family, name] = text

    def remove_table(self, family: str, name: str) -> None:
        self.before()
        if (family, name) not in self.tables:
            raise refuse(errno.ENOENT)
        del self.tables[family, name]

    # Small things

    def _devices(self) -> Iterator[Device]:
        """Yield every link, those in namespaces that only a descriptor holds too."""
        for space in self._spaces:
            yield from space.devices.values()

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _mac(self) -> str:
        return ":".join(re.findall("..", f"{0x02FF << 32 | self._number():012x}"))


def _check_mtu(mtu: int) -> None:
    if not 68 <= mtu <= 65535:
        raise refuse(errno.EINVAL)


def _check_mac(mac: str) -> None:
    octets = bytes.fromhex(mac.replace(":", ""))
    if octets[0] & 1 or not any(octets):
        raise refuse(errno.EADDRNOTAVAIL)
