"""WireGuard links of a kernel in memory, and the private keys of a host in memory: as strict as the real ones.

The rules are those of drivers/net/wireguard/{device,netlink}.c. A private key is stood for by its public one: a host in
memory has no secrets.
"""

from __future__ import annotations

import errno
from base64 import b64encode
from collections.abc import Iterator, Mapping

from ..errors import HostLacks
from ..naming import digest
from ..resources import Key, Wireguard, WireguardPeer
from .fake_kernel import Kernel
from .fake_links import Device, refuse


def make_key(keys: dict[str, str], path: str) -> bool:
    """Make a key, which derives from the file's name and how many there are; False where there is one."""
    if path in keys:
        return False
    keys[path] = b64encode(digest(path, str(len(keys))) * 2).decode()
    return True


def public_key(keys: Mapping[str, str], path: str) -> str:
    """Return the public key of the private one in a file; `keys` are those of the files that there are."""
    if path not in keys:
        raise HostLacks(f"there is no private key in {path}; `netapply keys` makes one")
    return keys[path]


def set_identity(kernel: Kernel, device: Device, one: Wireguard, keys: Mapping[str, str], kept: dict[str, str]) -> None:
    """Give a link its key, from its file or as `kept` from before, and its port. A peer of the same key goes."""
    kernel.before()
    if device.kind != "wireguard":
        raise refuse(errno.EOPNOTSUPP)
    if one.public_key and one.public_key not in kept and public_key(keys, one.key_file) != one.public_key:
        raise refuse(errno.EKEYREJECTED)
    others = (other for other in kernel.devices() if other is not device and other.space is device.space)
    if device.up and any(other.up and other.port_number == one.listen_port for other in others):
        raise refuse(errno.EADDRINUSE)
    if device.public_key:
        kept[device.public_key] = device.public_key
    device.public_key, device.port_number = one.public_key, one.listen_port
    device.peers.pop(one.public_key, None)


def set_peer(kernel: Kernel, device: Device, one: WireguardPeer) -> None:
    """Make a peer, or change it. Prefixes that another has are taken from that; oneself is ignored."""
    kernel.before()
    if device.kind != "wireguard":
        raise refuse(errno.EOPNOTSUPP)
    if one.public_key == device.public_key:
        return
    for key, (endpoint, allowed) in device.peers.items():
        device.peers[key] = endpoint, tuple(prefix for prefix in allowed if prefix not in one.allowed_ips)
    device.peers[one.public_key] = one.endpoint, one.allowed_ips


def remove_peer(kernel: Kernel, device: Device, one: WireguardPeer) -> None:
    """Remove a peer; that it is not there is no error."""
    kernel.before()
    device.peers.pop(one.public_key, None)


def seen(device: Device, path: str) -> Iterator[Wireguard | WireguardPeer]:
    """Yield what a link of ours is and whom it knows, as `reconciler.host.wireguard.seen` tells it."""
    yield Wireguard(path, device.public_key, device.port_number)
    for key, (endpoint, allowed) in device.peers.items():
        yield WireguardPeer(path, key, endpoint, tuple(sorted(allowed)))


def taken(device: Device) -> Iterator[tuple[Key, str]]:
    """Yield the port that a link of somebody else's listens at."""
    if device.kind == "wireguard" and device.up and device.port_number:
        what = f"something on this host listens there, perhaps the link {device.name}"
        yield Key("udp", str(device.port_number)), what
