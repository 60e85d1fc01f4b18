"""Forwarding entries and neighbours of VXLAN links of ours: encoded, decoded, looked at, and made many at a time.

Formats are those of linux/neighbour.h. One message sets both halves of a forwarding entry: for which host a frame is,
which the VXLAN link keeps, and that it is for that link, which its bridge keeps (rtnl_fdb_add of net/core/rtnetlink.c).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..errors import NetapplyError, OperationFailed
from ..plan import Change, Delete, Update
from ..resources import HOST, ROUTE_PROTOCOL, FdbEntry, Key, Neighbour, Resource, subject
from . import kinds, marks
from .netlink import CREATE, EXCL, REPLACE, Message, Picker, Socket, attribute
from .observing import Inventory, View
from .rtnetlink import LinkRow
from .steps import Runner, Send, failure

NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30

APPEND = 0x800
"""NLM_F_APPEND"""

SELF, MASTER = 0x02, 0x04
"""NTF_*: what a VXLAN link keeps, and what the bridge that it is in does."""

PERMANENT, NOARP = 0x80, 0x40
"""NUD_*: a neighbour that is not asked for again; a bridge's entry that does not age and is not the host's own."""

OURS = NOARP | 0x08 | 0x02
"""The state by which a VXLAN link's entry is known to be ours: static, and NUD_DELAY, which is nobody's and means
nothing there; the kernel keeps the bits as they are. `bridge fdb` calls it "static" as well."""

_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_U32 = struct.Struct("=I")
_PICKER = Picker(1, 2, 12, start=12)  # NDA_DST, NDA_LLADDR, NDA_PROTOCOL


# --- messages


def fdb(index: int, mac: str, via: str = "", flags: int = SELF, state: int = OURS) -> bytes:
    """Return the body of a message about a forwarding entry of the VXLAN link with that index."""
    body = _NEIGHBOUR.pack(socket.AF_BRIDGE, index, state, flags, 0) + attribute(2, _mac(mac))
    return body + attribute(1, _packed(via)) if via else body


def neighbour(index: int, address: str, mac: str | None) -> bytes:
    """Return the body of a message about a permanent neighbour on a link, with our mark; `mac` None to delete it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    body = _NEIGHBOUR.pack(family, index, PERMANENT if mac else 0, 0, 0) + attribute(1, _packed(address))
    return body + attribute(2, _mac(mac)) + attribute(12, bytes([ROUTE_PROTOCOL])) if mac else body


def all_fdb(index: int) -> bytes:
    """Return the body of the request for the forwarding entries of a link, and those of its bridge that lead to it."""
    return _NEIGHBOUR.pack(socket.AF_BRIDGE, index, 0, 0, 0)


def all_neighbours(index: int) -> bytes:
    """Return the body of the request for the neighbours of both families on one link."""
    return _NEIGHBOUR.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + attribute(8, _U32.pack(index))  # NDA_IFINDEX


class NeighbourRow(NamedTuple):
    """What the kernel says of a forwarding entry or a neighbour. `address` is the host, or who is asked for."""

    family: int
    ifindex: int
    state: int
    flags: int
    address: str
    mac: str
    protocol: int


def neighbour_row(body: bytes) -> NeighbourRow:
    """Decode a message about a forwarding entry or a neighbour."""
    family, index, state, flags, _ = _NEIGHBOUR.unpack_from(body)
    found = _PICKER.pick(body)
    packed, protocol = found.get(1, b""), found.get(12)
    address = socket.inet_ntop(socket.AF_INET6 if len(packed) == 16 else socket.AF_INET, packed) if packed else ""
    return NeighbourRow(
        family, index, state, flags, address, found.get(2, b"").hex(":"), protocol[0] if protocol else 0
    )


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


# --- looking


class Seen(NamedTuple):
    """The project's entries and neighbours, and what of others is in the way of some: as `Facts.taken` has it."""

    resources: list[Resource]
    taken: dict[Key, str]


def seen(door: Socket, view: View) -> Seen:
    """Look at the VXLAN links that there are: of ours what they forward, of others what they keep for themselves.

    `door` is a socket in the host's namespace. Asks for one link at a time: longer lists take the kernel more than
    proportionally longer. Raises OperationFailed.
    """
    host = view.looks.host
    found = Seen([], dict(_claims(view)))
    for row in host.links:
        path = view.paths.get((host.cookie, row.ifindex))
        if row.kind != "vxlan" or path is None:
            continue
        bodies = door.dump(GETNEIGH, all_fdb(row.ifindex))
        _add_entries(found, path, [neighbour_row(body) for body in bodies])
        for index in {row.ifindex, row.master} - {0}:
            if holder := view.paths.get((host.cookie, index)):
                bodies = door.dump(GETNEIGH, all_neighbours(index))
                _add_neighbours(found, holder, [neighbour_row(body) for body in bodies])
    return found


def _add_entries(found: Seen, path: str, rows: Sequence[NeighbourRow]) -> None:
    """Add the forwarding entries: ours bear the mark, or have both halves, though somebody may have changed one."""
    bridged = {row.mac for row in rows if not row.flags & SELF and row.state == NOARP}
    left = set(bridged)
    for row in rows:
        if not row.flags & SELF:
            continue
        entry = FdbEntry(path, row.mac, row.address, row.mac in bridged)
        if row.state == OURS or entry.bridged:
            found.resources.append(entry)
            left.discard(row.mac)
        else:
            found.taken[entry.key] = "somebody else made that forwarding entry; `bridge fdb del` removes it"
    found.resources.extend(FdbEntry(path, mac, "") for mac in left)


def _add_neighbours(found: Seen, path: str, rows: Iterable[NeighbourRow]) -> None:
    for row in rows:
        if not row.state & PERMANENT or row.mac == "":
            continue
        one = Neighbour(path, row.address, row.mac)
        if row.protocol == ROUTE_PROTOCOL:
            found.resources.append(one)
        else:
            found.taken[one.key] = "somebody else made that neighbour; `ip neigh del` removes it"


def _claims(view: View) -> Iterator[tuple[Key, str]]:
    """Yield the VNIs on their ports that other VXLAN links have, those that were made here and moved elsewhere too."""
    host = view.looks.host
    for look in view.everywhere():
        for row in look.links:
            if row.kind != "vxlan" or (look.cookie, row.ifindex) in view.paths:
                continue
            if (look is host) == (row.below_nsid is None) and (look is host or row.below_nsid == look.host_nsid):
                yield claim_of(row), f"the link {row.name} has it, {_whose(row)}"


def claim_of(row: LinkRow) -> Key:
    """Return what only one VXLAN link of a host can have (vxlan_vni_in_use): VNI, port, and family of the hosts."""
    options = kinds.decode(kinds.KINDS["vxlan"], row.data)
    return Key("vxlan", f"{options.get('id')} port {options.get('port')} IPv{6 if 'local6' in options else 4}")


def _whose(row: LinkRow) -> str:
    owner = marks.mark(row.alias)
    return f"of project {owner.project}" if owner else "which netapply did not make"


# --- making


def make(batch: Sequence[Change], inventory: Inventory, runner: Runner) -> list[NetapplyError | None]:
    """Make changes to forwarding entries and neighbours, all in one send."""
    steps: list[Send] = []
    places: list[int] = []
    outcomes: list[NetapplyError | None] = [None] * len(batch)
    for place, change in enumerate(batch):
        try:
            steps.append(_step(change, inventory))
            places.append(place)
        except NetapplyError as error:
            outcomes[place] = error
    with runner.inside(HOST) as door:
        for place, step, answer in zip(places, steps, runner.send(steps, door), strict=True):
            if answer.errno not in (0, *step.tolerated):
                outcomes[place] = failure(step.what, answer)
    return outcomes


def _step(change: Change, inventory: Inventory) -> Send:
    resource = change.before if isinstance(change, Delete) else change.after
    if not isinstance(resource, FdbEntry | Neighbour):
        raise TypeError(f"{change} can't be made")
    ends = inventory.links.get(resource.link)
    if ends is None:
        raise OperationFailed(f"link {resource.link} is not there (ENODEV)", errno.ENODEV)
    if isinstance(resource, Neighbour):
        return _neighbour_step(change, resource, ends.ifindex)
    what = f"forwarding entry {resource.mac} of network {subject(resource)[1]}"
    flags = (SELF if resource.via else 0) | (MASTER if resource.bridged else 0)
    body = fdb(ends.ifindex, resource.mac, resource.via, flags)
    if isinstance(change, Delete):
        return Send(HOST, Message(DELNEIGH, 0, body), what)
    how = CREATE | (REPLACE if isinstance(change, Update) else EXCL)
    if resource.mac == FdbEntry.FLOOD:
        how = CREATE | APPEND  # one of several
    return Send(HOST, Message(NEWNEIGH, how, body), what)


def _neighbour_step(change: Change, one: Neighbour, index: int) -> Send:
    """Return the step that sets or deletes a neighbour.

    What the kernel has found out about the address by itself is no obstacle. One that went with the link's last address
    is deleted already.
    """
    what = f"neighbour {one.address} of network {subject(one)[1]}"
    if isinstance(change, Delete):
        return Send(HOST, Message(DELNEIGH, 0, neighbour(index, one.address, None)), what, (errno.ENOENT,))
    return Send(HOST, Message(NEWNEIGH, CREATE | REPLACE, neighbour(index, one.address, one.mac)), what)
