"""What a kernel in memory refuses, with which errno: each function returns, or raises what Linux answers.

`links` are those of all namespaces. See `reconciler.host.fake_kernel` for where the rules come from.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_interface, ip_network

from ..naming import IFNAMSIZ
from .fake_links import MAX_PORTS, TAKERS, Device, Hop, Space, refuse


def check_vxlan(device: Device, links: Iterable[Device]) -> None:
    """Refuse one without VNI, or with one that another has on the same port, for hosts of the same family."""
    if "id" not in device.options:
        raise refuse(errno.EINVAL)
    for other in links:
        same = all(other.options.get(name) == device.options.get(name) for name in ("id", "port"))
        if other.kind == "vxlan" and same and ("local6" in other.options) == ("local6" in device.options):
            raise refuse(errno.EEXIST)


def check_port(device: Device, master: Device, links: Iterable[Device]) -> None:
    if master.kind != "bridge":
        raise refuse(errno.EOPNOTSUPP)
    if device.kind == "bridge":
        raise refuse(errno.ELOOP)
    if device.kind == "loopback" or master.space is not device.space:
        raise refuse(errno.EINVAL)
    if any(other.parent is device and other.kind in TAKERS for other in links):
        raise refuse(errno.EBUSY)
    if sum(other.master is master for other in master.space.devices.values()) >= MAX_PORTS:
        raise refuse(errno.EXFULL)


def check_name(space: Space, name: str) -> None:
    if len(name) > IFNAMSIZ:
        raise refuse(errno.ERANGE)
    if not re.fullmatch(r"[^\s/:]+", name) or name in (".", ".."):
        raise refuse(errno.EINVAL)
    if name in space.devices:
        raise refuse(errno.EEXIST)


def check_free(device: Device, mac: str, links: Iterable[Device]) -> None:
    """Refuse a MAC that the parent has, or another macvlan on it that is up."""
    on_it = (other for other in links if other.parent is device.parent and other.kind == "macvlan")
    same = [other for other in on_it if other.up and other is not device]
    if mac in {device.parent.mac if device.parent else "", *(other.mac for other in same)}:
        raise refuse(errno.EADDRINUSE)


def check_hop(space: Space, hop: Hop) -> None:
    """Refuse a route whose link is down, or whose next hop is not on that link."""
    ip_network(hop.destination)
    if hop.device is None:
        return
    ipv6 = ":" in hop.destination
    if hop.device.space is not space:
        raise refuse(errno.ENODEV)
    if hop.via is None or hop.onlink or (hop.via.startswith("fe80:") and hop.device.up):
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


def check_mtu(mtu: int) -> None:
    if not 68 <= mtu <= 65535:
        raise refuse(errno.EINVAL)


def check_mac(mac: str) -> None:
    octets = bytes.fromhex(mac.replace(":", ""))
    if octets[0] & 1 or not any(octets):
        raise refuse(errno.EADDRNOTAVAIL)
