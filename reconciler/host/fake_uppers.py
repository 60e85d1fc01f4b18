"""What a kernel in memory makes of links that stand on others: macvlan, ipvlan and VLAN links.

The rules are those of drivers/net/macvlan.c, drivers/net/ipvlan/ipvlan_main.c and net/8021q/{vlan,vlan_netlink}.c.
`links` are those of all namespaces.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence

from ..resources import Option
from .fake_links import TAKERS, UPPERS, Device, refuse


def stand_on(device: Device, parent: Device | None, mtu: int | None, links: Iterable[Device]) -> None:
    """Put a new link on its parent, whose MTU it gets where none is given, or refuse."""
    if device.kind == "vxlan" and parent is not None:  # vxlan_config_validate, vxlan_dev_configure
        device.parent = parent
        device.mtu = min(device.mtu, max(parent.mtu - (70 if "local6" in device.options else 50), 68))
        return
    if device.kind not in UPPERS:
        if parent is not None:
            raise refuse(errno.EOPNOTSUPP)
        return
    if parent is None or (device.kind == "vlan" and "id" not in device.options):
        raise refuse(errno.EINVAL)
    device.mtu = parent.mtu if mtu is None else mtu
    others = _on(parent, links)
    (_check_vlan if device.kind == "vlan" else _check_port)(device, parent, others)
    device.parent = parent
    if device.kind == "ipvlan":
        for name in ("mode", "flag"):  # they are the parent's, and the latest that asks has its way
            share(device, name, device.options[name], others)
        device.mac = parent.mac
    elif device.options.get("mode") == "passthru":
        device.mac = parent.mac


def _check_vlan(device: Device, parent: Device, others: Sequence[Device]) -> None:
    if parent.kind == "loopback":
        raise refuse(errno.EOPNOTSUPP)
    for other in others:
        if other.kind == "vlan" and all(other.options[name] == device.options[name] for name in ("id", "protocol")):
            raise refuse(errno.EEXIST)
    if device.mtu > parent.mtu:
        raise refuse(errno.EINVAL)


def _check_port(device: Device, parent: Device, others: Sequence[Device]) -> None:
    """Refuse a macvlan or an ipvlan on what hands its packets to somebody else, or to one alone."""
    same = [other for other in others if other.kind == device.kind]
    modes = [one.options.get("mode") for one in (device, *same)]
    if device.kind == "macvlan" and (device.mtu > parent.mtu or (same and "passthru" in modes)):
        raise refuse(errno.EINVAL)
    if parent.kind == "loopback":
        raise refuse(errno.EINVAL)
    if parent.master or any(other.kind in TAKERS and other.kind != device.kind for other in others):
        raise refuse(errno.EBUSY)


def share(device: Device, name: str, value: Option, links: Iterable[Device]) -> None:
    """Set an option of a link; the mode and the flag of an ipvlan are those of all on its parent."""
    device.options[name] = value
    if device.kind == "ipvlan":
        for other in _on(device.parent, links):
            if other.kind == "ipvlan":
                other.options[name] = value


def check_up(device: Device) -> None:
    """Refuse to set a VLAN link up whose base is down."""
    if device.kind == "vlan" and device.parent and not device.parent.up:
        raise refuse(errno.ENETDOWN)


def check_mtu(device: Device, mtu: int) -> None:
    if device.parent and device.kind == "vxlan":
        if mtu > device.parent.mtu - (70 if "local6" in device.options else 50):
            raise refuse(errno.EINVAL)
        return
    if device.parent and device.kind != "ipvlan" and mtu > device.parent.mtu:
        raise refuse(errno.ERANGE if device.kind == "vlan" else errno.EINVAL)


def resized(device: Device, mtu: int, links: Sequence[Device]) -> Iterator[Device]:
    """Yield a link that gets an MTU, and those on it that get it too: larger ones, and ipvlans in any case."""
    yield device
    for upper in _on(device, links):
        if upper.kind == "vxlan":
            continue
        if upper.mtu > mtu or (upper.kind == "ipvlan" and upper.mtu != mtu):
            yield from resized(upper, mtu, links)


def with_its_mac(device: Device, links: Sequence[Device]) -> Iterator[Device]:
    """Yield a link whose MAC changes, and those on it whose MAC is the same and goes with it."""
    yield device
    for upper in _on(device, links):
        follows = upper.kind in ("ipvlan", "vlan") or upper.options.get("mode") == "passthru"
        if follows and upper.mac == device.mac:
            yield from with_its_mac(upper, links)


def check_address(device: Device, address: str, links: Iterable[Device]) -> None:
    """Refuse an address that an ipvlan on the same parent has, whatever the prefix length."""
    if device.kind == "ipvlan":
        plain = address.partition("/")[0]
        for other in _on(device.parent, links):
            if other.kind == "ipvlan" and any(have.partition("/")[0] == plain for have in other.addresses):
                raise refuse(errno.EADDRINUSE)


def _on(parent: Device | None, links: Iterable[Device]) -> list[Device]:
    return [one for one in links if parent is not None and one.parent is parent]
