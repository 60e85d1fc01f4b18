"""VLANs of bridges and their ports: the messages of AF_BRIDGE (linux/if_bridge.h), and what is made of changes."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Sequence

from ..errors import NetapplyError, OperationFailed
from ..lowering.vlans import LAST, Run, runs, words
from ..plan import Change, Delete
from ..resources import HOST, UPLINK, BridgeVlan
from . import rtnetlink
from .netlink import Message, Picker, attribute, attributes, nested
from .observing import Inventory
from .steps import Runner, Send, failure

_AF_BRIDGE = 7
_BRVLAN_COMPRESSED = 4  # RTEXT_FILTER_BRVLAN_COMPRESSED
_SELF = 2  # BRIDGE_FLAGS_SELF: the bridge itself is meant and not one whose port it is
_PVID, _UNTAGGED, _BEGIN, _END = 2, 4, 8, 16  # BRIDGE_VLAN_INFO_*
_FLAGS, _INFO = 0, 2  # IFLA_BRIDGE_FLAGS, IFLA_BRIDGE_VLAN_INFO

_HEADER = struct.Struct("=BxHiII")  # struct ifinfomsg
_VLAN = struct.Struct("=HH")  # struct bridge_vlan_info
_ROW = Picker(26, start=16)  # IFLA_AF_SPEC


def set_vlans(index: int, wanted: Iterable[Run], *, bridge: bool) -> Message:
    """Return the request to put a port, or a `bridge` itself, into VLANs; where it is in them, to change how."""
    return Message(rtnetlink.SETLINK, 0, _body(index, wanted, bridge))


def delete_vlans(index: int, unwanted: Iterable[Run], *, bridge: bool) -> Message:
    """Return the request to take it out of them; that it is in none of them is no error."""
    return Message(rtnetlink.DELLINK, 0, _body(index, unwanted, bridge))


def empty(index: int) -> Message:
    """Return the request to take a port out of all VLANs."""
    return delete_vlans(index, [Run(1, LAST)], bridge=False)


def _body(index: int, wanted: Iterable[Run], bridge: bool) -> bytes:
    packed = [attribute(_FLAGS, struct.pack("=H", _SELF))] if bridge else []
    for run in wanted:
        flags = _PVID * run.pvid | _UNTAGGED * run.untagged
        if run.first == run.last:
            packed.append(attribute(_INFO, _VLAN.pack(flags, run.first)))
        else:
            packed.append(attribute(_INFO, _VLAN.pack(flags | _BEGIN, run.first)))
            packed.append(attribute(_INFO, _VLAN.pack(flags | _END, run.last)))
    return _HEADER.pack(_AF_BRIDGE, 0, index, 0, 0) + nested(26, b"".join(packed))


def all_ports() -> bytes:
    """Return the body of the request for the VLANs of all bridges and ports of a namespace."""
    return _HEADER.pack(_AF_BRIDGE, 0, 0, 0, 0) + attribute(29, struct.pack("=I", _BRVLAN_COMPRESSED))


def row(body: bytes) -> tuple[int, tuple[tuple[int, bool, bool], ...]]:
    """Decode a message about a bridge or a port: its index, and of each VLAN number, PVID and if it is untagged."""
    index = rtnetlink.index_of_link(body)
    found: list[tuple[int, bool, bool]] = []
    begin = 0
    for kind, payload in attributes(_ROW.pick(body).get(26, b"")):
        if kind != _INFO:
            continue
        flags, vid = _VLAN.unpack(payload)
        first = begin if flags & _END else vid
        begin = vid if flags & _BEGIN else 0
        if not begin:
            found += [(each, bool(flags & _PVID), bool(flags & _UNTAGGED)) for each in range(first, vid + 1)]
    return index, tuple(found)


def make(batch: Sequence[Change], inventory: Inventory, runner: Runner) -> list[NetapplyError | None]:
    """Make changes to VLANs that are all deletions or none; those of one link go in one message."""
    deletes = isinstance(batch[0], Delete)
    links: dict[str, list[BridgeVlan]] = {}
    for one in map(_vlan, batch):
        links.setdefault(one.link, []).append(one)
    outcomes: dict[str, NetapplyError | None] = {}
    sends: dict[str, Send] = {}
    for path, vlans in links.items():
        if (ends := inventory.links.get(path)) is None:
            outcomes[path] = OperationFailed(f"link {path} is not there (ENODEV)", errno.ENODEV)
            continue
        request = delete_vlans if deletes else set_vlans
        message = request(ends.ifindex, runs(vlans), bridge="/" not in path and not path.endswith(UPLINK))
        sends[path] = Send(HOST, message, f"VLAN {words(runs(vlans))} of {path}")
    with runner.inside(HOST) as door:
        answers = runner.send(list(sends.values()), door)
    for (path, step), answer in zip(sends.items(), answers, strict=True):
        outcomes[path] = failure(step.what, answer) if answer.errno else None
    return [outcomes[_vlan(change).link] for change in batch]


def _vlan(change: Change) -> BridgeVlan:
    found = change.before if isinstance(change, Delete) else change.after
    if not isinstance(found, BridgeVlan):
        raise TypeError(f"{change} is not about a VLAN")
    return found
