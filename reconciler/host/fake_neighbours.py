"""Forwarding entries and neighbours of a kernel in memory, as strict as those of the real one.

The rules are those of drivers/net/vxlan/vxlan_core.c, net/bridge/br_fdb.c and net/core/neighbour.c. What is kept is in
`fake_links.Device`, each with a mark: our protocol number for ours, as addresses have it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from ..resources import ROUTE_PROTOCOL, FdbEntry, Key, Neighbour
from .fake_kernel import Kernel
from .fake_links import IPV6_MIN_MTU, Device, refuse


def claim(device: Device) -> Key:
    """Return what only one VXLAN link can have, as `reconciler.host.neighbours.claim_of` says it."""
    options = device.options
    return Key("vxlan", f"{options.get('id')} port {options.get('port')} IPv{6 if 'local6' in options else 4}")


def add_entry(
    kernel: Kernel, device: Device, one: FdbEntry, *, update: bool = False, mark: int = ROUTE_PROTOCOL
) -> None:
    """Make a forwarding entry, both halves in one request; in the place of another one only to `update` it."""
    kernel.before()
    bridged = one.bridged and device.master is not None
    if bridged and one.mac in device.static and not update:
        raise refuse(errno.EEXIST)
    if bridged:
        device.static.add(one.mac)
    if device.kind != "vxlan":
        raise refuse(errno.EOPNOTSUPP)
    if (":" in one.via) != ("local6" in device.options):
        raise refuse(errno.EAFNOSUPPORT)
    _, hosts = device.fdb.get(one.mac, (0, ()))
    if one.mac == FdbEntry.FLOOD:
        device.fdb[one.mac] = (mark, (*(host for host in hosts if host != one.via), one.via))
        return
    if hosts and not update:
        raise refuse(errno.EEXIST)
    device.fdb[one.mac] = (mark, (one.via,))


def remove_entry(kernel: Kernel, device: Device, one: FdbEntry) -> None:
    kernel.before()
    mark, hosts = device.fdb.get(one.mac, (0, ()))
    if one.bridged and one.mac not in device.static:
        raise refuse(errno.ENOENT)
    device.static -= {one.mac} if one.bridged else set()
    if not one.via:
        return
    if not hosts:
        raise refuse(errno.ENOENT)  # that they do not include this one is no error
    device.fdb[one.mac] = (mark, tuple(host for host in hosts if host != one.via))
    if not device.fdb[one.mac][1]:
        del device.fdb[one.mac]


def set_neighbour(kernel: Kernel, device: Device, one: Neighbour, mark: int = ROUTE_PROTOCOL) -> None:
    """Say who has an address, whatever is known of it so far."""
    kernel.before()
    if ":" in one.address and device.mtu < IPV6_MIN_MTU:
        raise refuse(errno.EINVAL)
    device.neighbours[one.address] = (mark, one.mac)


def remove_neighbour(kernel: Kernel, device: Device, one: Neighbour) -> None:
    """Forget who has an address; that nobody knows is no error to who asks for it (`host.neighbours.make`)."""
    kernel.before()
    device.neighbours.pop(one.address, None)


def seen(device: Device, path: str) -> Iterator[tuple[FdbEntry | Neighbour, bool]]:
    """Yield what a link of ours knows, and whether it is ours, as `reconciler.host.neighbours.seen` tells it."""
    for mac, (mark, hosts) in device.fdb.items():
        bridged = mac in device.static
        yield from ((FdbEntry(path, mac, host, bridged), mark == ROUTE_PROTOCOL or bridged) for host in hosts)
    yield from ((FdbEntry(path, mac, ""), True) for mac in device.static - device.fdb.keys())
    for address, (mark, mac) in device.neighbours.items():
        yield Neighbour(path, address, mac), mark == ROUTE_PROTOCOL
