"""WireGuard links of ours: keys, port and peers, by generic netlink as linux/wireguard.h and linux/genetlink.h have it.

A private key goes from its file into the kernel's message and nowhere else. The key that a link has had is kept in
memory for rolling back, for as long as one run of netapply takes.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from ..errors import HostLacks, NetapplyError, OperationFailed
from ..plan import Change, Create, Delete
from ..resources import HOST, WIREGUARD, Key, Resource, Wireguard, WireguardPeer
from ..x25519 import public_key
from . import keyfiles, marks
from .netlink import Answer, Message, Socket, attribute, attributes, nested
from .observing import Inventory, View
from .rtnetlink import LinkRow
from .steps import Runner, failure

_GENERIC = 16  # NETLINK_GENERIC
_CONTROL, _GET_FAMILY = 16, 3  # GENL_ID_CTRL, CTRL_CMD_GETFAMILY
_GET_DEVICE, _SET_DEVICE = 0, 1
_REMOVE_ME, _REPLACE_ALLOWED_IPS = 1, 2  # WGPEER_F_*
_HEADER = struct.Struct("=BBH")  # struct genlmsghdr
_U16, _U32, _PORT = struct.Struct("=H"), struct.Struct("=I"), struct.Struct("!H")

_NO_KEY = bytes(keyfiles.LENGTH)


# --- messages


def set_device(index: int, payload: bytes) -> bytes:
    """Return the body of a message that changes the WireGuard link with that index."""
    return _HEADER.pack(_SET_DEVICE, 1, 0) + attribute(1, _U32.pack(index)) + payload


def identity(private: bytes, port: int) -> bytes:
    """Return the private key and the port of a link, as attributes."""
    return attribute(3, private) + attribute(6, _U16.pack(port))


def peer(one: WireguardPeer, *, whole: bool = True) -> bytes:
    """Return a peer as attributes. Unless it is `whole`, a preshared key of somebody's stays."""
    body = attribute(1, b64decode(one.public_key)) + attribute(3, _U32.pack(_REPLACE_ALLOWED_IPS))
    body += attribute(2, _NO_KEY) if whole else b""
    body += attribute(4, _packed_endpoint(one.endpoint)) if one.endpoint else b""
    return _peers(body + nested(9, b"".join(nested(0, _packed_prefix(prefix)) for prefix in one.allowed_ips)))


def no_peer(public: str) -> bytes:
    """Return the removal of a peer as attributes; one that is not there is no error."""
    return _peers(attribute(1, b64decode(public)) + attribute(3, _U32.pack(_REMOVE_ME)))


def _peers(body: bytes) -> bytes:
    return nested(8, nested(0, body))


def _packed_prefix(text: str) -> bytes:
    address, _, length = text.partition("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    return attribute(1, _U16.pack(family)) + attribute(2, packed) + attribute(3, bytes([int(length)]))


def _packed_endpoint(text: str) -> bytes:
    """Return a struct sockaddr_in or sockaddr_in6."""
    address, _, port = text.rpartition(":")
    if address.startswith("["):
        packed = socket.inet_pton(socket.AF_INET6, address[1:-1])
        return _U16.pack(socket.AF_INET6) + _PORT.pack(int(port)) + bytes(4) + packed + bytes(4)
    return _U16.pack(socket.AF_INET) + _PORT.pack(int(port)) + socket.inet_pton(socket.AF_INET, address) + bytes(8)


def _endpoint(packed: bytes) -> str:
    if len(packed) < 16:
        return ""
    port = _PORT.unpack_from(packed, 2)[0]
    if _U16.unpack_from(packed)[0] == socket.AF_INET6:
        return f"[{socket.inet_ntop(socket.AF_INET6, packed[8:24])}]:{port}"
    return f"{socket.inet_ntop(socket.AF_INET, packed[4:8])}:{port}"


class Door:
    """A socket to WireGuard in the caller's network namespace. Raises OperationFailed where there is no WireGuard."""

    def __init__(self) -> None:
        self._socket = Socket(_GENERIC)
        question = _HEADER.pack(_GET_FAMILY, 1, 0) + attribute(2, b"wireguard\0")
        (answer,) = self._socket.send([Message(_CONTROL, 0, question)])
        family = dict(attributes(answer.echo, _HEADER.size)).get(1) if answer.echo else None
        if family is None:
            self.close()
            raise OperationFailed(f"WireGuard can't be asked: {answer.reason}", answer.errno)
        self._family = _U16.unpack(family)[0]

    def close(self) -> None:
        self._socket.close()

    def send(self, body: bytes) -> Answer:
        return self._socket.send([Message(self._family, 0, body)])[0]

    def dump(self, index: int) -> list[bytes]:
        """Return the messages about a link: its own settings, and as many of its peers as fit, in each."""
        return self._socket.dump(self._family, _HEADER.pack(_GET_DEVICE, 1, 0) + attribute(1, _U32.pack(index)))


@contextmanager
def _door() -> Iterator[Door]:
    door = Door()
    try:
        yield door
    finally:
        door.close()


def resources(path: str, messages: Sequence[bytes]) -> Iterator[Wireguard | WireguardPeer]:
    """Yield what messages about a link say, the private key and the preshared ones left alone.

    A peer with many prefixes is in several messages, and only the first has more of it than these.
    """
    public, port = b"", 0
    peers: dict[bytes, dict[int, bytes]] = {}
    prefixes: dict[bytes, list[str]] = {}
    for message in messages:
        found = dict(attributes(message, _HEADER.size))
        public = found.get(4, public)
        port = _U16.unpack(found[6])[0] if 6 in found else port
        for _, body in attributes(found.get(8, b"")):
            about = dict(attributes(body))
            peers.setdefault(about[1], about)
            prefixes.setdefault(about[1], []).extend(map(_prefix, _bodies(about.get(9, b""))))
    yield Wireguard(path, keyfiles.text(public), port) if public else Wireguard(path, "", 0)  # up, it has some port
    for key, about in peers.items():
        preshared = about.get(2, _NO_KEY) != _NO_KEY
        allowed = tuple(sorted(prefixes[key]))
        yield WireguardPeer(path, keyfiles.text(key), _endpoint(about.get(4, b"")), allowed, preshared)


def _bodies(payload: bytes) -> Iterator[bytes]:
    return (body for _, body in attributes(payload))


def _prefix(body: bytes) -> str:
    found = dict(attributes(body))
    family = socket.AF_INET6 if _U16.unpack(found[1])[0] == socket.AF_INET6 else socket.AF_INET
    return f"{socket.inet_ntop(family, found[2])}/{found[3][0]}"


# --- looking


class Seen(NamedTuple):
    """The project's keys and peers, and what of others is in the way of some: as `Facts.taken` has it."""

    resources: list[Resource]
    taken: Mapping[Key, str]


def seen(view: View) -> Seen:
    """Look at the project's WireGuard link, and at who listens at which UDP port where others have such links, too.

    The caller is in the host's namespace. Raises OperationFailed.
    """
    host = view.looks.host
    found: list[Resource] = []
    others: list[LinkRow] = []
    with _door() as door:
        for row in host.links:
            if row.kind != "wireguard":
                continue
            if path := view.paths.get((host.cookie, row.ifindex)):
                found += resources(path, door.dump(row.ifindex))
            else:
                others.append(row)
    if not others:
        return Seen(found, {})
    own = {one.listen_port for one in found if isinstance(one, Wireguard)}
    what = f"something on this host listens there, perhaps {_whose(others[0])}; choose another wireguard_port"
    return Seen(found, {port_key(port): what for port in _ports() - own})


def port_key(port: int) -> Key:
    """Return what only one WireGuard link of a host can have, as `Facts.taken` keys it."""
    return Key("udp", str(port))


def _ports() -> set[int]:
    """Return the UDP ports that somebody listens at in this thread's namespace (proc(5), /proc/net/udp)."""
    ports: set[int] = set()
    for name in ("udp", "udp6"):
        try:
            with open(f"/proc/thread-self/net/{name}", encoding="ascii") as file:
                ports |= {int(line.split()[1].rpartition(":")[2], 16) for line in file.readlines()[1:]}
        except OSError:
            continue
    return ports


def _whose(row: LinkRow) -> str:
    found = marks.mark(row.alias)
    return f"the link {row.name}" + (f" of project {found.project}" if found else "")


# --- making


def remember(inventory: Inventory, runner: Runner) -> None:
    """Keep the private key that the project's link has now: its file may have another when rolling back."""
    ends = inventory.links.get(WIREGUARD)
    if ends is None or ends.sandbox != HOST:
        return
    with _door() as door:
        for message in door.dump(ends.ifindex):
            found = dict(attributes(message, _HEADER.size))
            if 3 in found and 4 in found:
                runner.keys[keyfiles.text(found[4])] = found[3]


def make(batch: Sequence[Change], inventory: Inventory, runner: Runner) -> list[NetapplyError | None]:
    """Make changes to keys and peers, one after the other. Raises HostLacks for a key that can't be used."""
    outcomes: list[NetapplyError | None] = []
    with _door() as door:
        for change in batch:
            try:
                _make(change, inventory, runner, door)
                outcomes.append(None)
            except HostLacks:
                raise
            except NetapplyError as error:
                outcomes.append(error)
    return outcomes


def _make(change: Change, inventory: Inventory, runner: Runner, door: Door) -> None:
    resource = change.before if isinstance(change, Delete) else change.after
    if not isinstance(resource, Wireguard | WireguardPeer):
        raise TypeError(f"{change} can't be made")
    ends = inventory.links.get(resource.link)
    if ends is None:
        raise OperationFailed(f"link {resource.link} is not there (ENODEV)", errno.ENODEV)
    if isinstance(resource, Wireguard):
        what = "the key and the port of the WireGuard link"
        if isinstance(change, Delete):
            payload = identity(_NO_KEY, 0)
        else:
            payload = identity(_private_key(resource, runner), resource.listen_port)
    else:
        what = f"WireGuard peer {resource.host or resource.public_key}"
        if isinstance(change, Delete):
            payload = no_peer(resource.public_key)
        else:
            payload = peer(resource, whole=isinstance(change, Create) or "preshared" in change.fields)
    try:
        runner.trap(f"{'delete' if isinstance(change, Delete) else 'set'} {what}")
        answer = door.send(set_device(ends.ifindex, payload))
    except OSError as refused:
        answer = Answer(refused.errno or 0)
    if answer.errno == errno.EADDRINUSE and isinstance(resource, Wireguard):
        port = resource.listen_port
        said = f"UDP port {port} is in use on this host: {os.strerror(answer.errno)} (EADDRINUSE)"
        raise OperationFailed(f"{said}; choose another wireguard_port for the host", answer.errno)
    if answer.errno:
        raise failure(what, answer)


def _private_key(one: Wireguard, runner: Runner) -> bytes:
    """Return the private key of a public one: kept from before, or from its file. Raises HostLacks, OperationFailed."""
    if kept := runner.keys.get(one.public_key):
        return kept
    if not one.key_file:
        if not one.public_key:
            return _NO_KEY  # as a run left it that was killed
        raise OperationFailed(f"the private key of {one.public_key} is not known any more", errno.ENOKEY)
    private = keyfiles.private_key(one.key_file)
    if keyfiles.text(public_key(private)) != one.public_key:
        raise OperationFailed(f"the private key in {one.key_file} is another one than before", errno.EKEYREJECTED)
    return private
