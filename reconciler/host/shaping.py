"""Queues that hold packets up, and what redirects packets to them: rtnetlink's messages, what is seen, what is done.

Formats are those of linux/rtnetlink.h (struct tcmsg), pkt_sched.h (struct tc_tbf_qopt), pkt_cls.h (struct tc_u32_sel)
and tc_act/tc_mirred.h. Ours are known by their numbers: a queue by its handle, a filter by its priority.
"""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from ..errors import NetapplyError, OperationFailed
from ..plan import Change, Delete, Update
from ..resources import HALF_MADE, HOST, IFB, SHAPED, Key, Link, Shaper
from ..resources.shaping import burst_of, ticks
from .namespaces import Trap
from .netlink import CREATE, ECHO, EXCL, Answer, Message, Socket, attribute, attributes, nested
from .observing import Inventory
from .steps import Act, Runner, Send, Task, failure

NEWQDISC, DELQDISC, GETQDISC = 36, 37, 38
NEWTFILTER, DELTFILTER, GETTFILTER = 44, 45, 46

HANDLE = 0x6E61 << 16
"""The handle of every queue of ours ("na"): 6e61: in the words of tc."""

PRIORITY = 0x6E61
"""The priority of every filter of ours, pref 28257 in the words of tc."""

_ROOT, _INGRESS, _OF_INGRESS = 0xFFFFFFFF, 0xFFFFFFF1, 0xFFFF0000  # TC_H_*
_AT_INGRESS = 0xFFFFFFF2
"""The parent of filters for what comes in, of the qdisc ingress and of clsact."""

_ETHERNET = 1  # TC_LINKLAYER_ETHERNET
_ETH_P_ALL = 0x0300  # in network order
_TERMINAL = 1  # TC_U32_TERMINAL
_STOLEN, _REDIRECT = 4, 1  # TC_ACT_STOLEN, TCA_EGRESS_REDIR
_WIDE = 0xFFFFFFFF

_TC = struct.Struct("=BxxxiIII")
_RATE = struct.Struct("=BBHhHI")
_TBF = struct.Struct("=12s12sIII")
_SELECTOR = struct.Struct("=BBBxHHhhI")
_MIRRED = struct.Struct("=IIiiiiI")
_INDEX_IN_MIRRED = 24


# --- queues


def queue(index: int, rate: int, burst: int, limit: int) -> Message:
    """Return the request to make a queue of ours, or to change it. One of somebody else's is EEXIST.

    `rate` is in bit/s, `burst` and `limit` are bytes.
    """
    speed = rate // 8
    parts = _RATE.pack(0, _ETHERNET, 0, 0, 0, min(speed, _WIDE))
    options = attribute(1, _TBF.pack(parts, bytes(12), limit, ticks(rate, burst), 0))
    if speed >= _WIDE:
        options += attribute(4, struct.pack("=Q", speed))
    body = _TC.pack(0, index, HANDLE, _ROOT, 0) + attribute(1, b"tbf\0") + nested(2, options)
    return Message(NEWQDISC, CREATE, body)


def delete_queue(index: int) -> Message:
    return Message(DELQDISC, 0, _TC.pack(0, index, HANDLE, _ROOT, 0))


def new_ingress(index: int) -> Message:
    """Return the request to have filters for what comes in by a link; EEXIST where there may be some already."""
    return Message(NEWQDISC, CREATE | EXCL, _TC.pack(0, index, _OF_INGRESS, _INGRESS, 0) + attribute(1, b"ingress\0"))


def get_ingress(index: int) -> Message:
    """Return the question what filters for what comes in by a link are on."""
    return Message(GETQDISC, ECHO, _TC.pack(0, index, 0, _INGRESS, 0))


def delete_ingress(index: int) -> Message:
    return Message(DELQDISC, 0, _TC.pack(0, index, _OF_INGRESS, _INGRESS, 0))


def all_queues() -> bytes:
    """Return the body of the request for all queues that are not what links have by themselves."""
    return _TC.pack(0, 0, 0, 0, 0)


class QueueRow(NamedTuple):
    """What the kernel says of a queue of the link with an index. `rate` is 0 where it is none of ours, or has what ours
    never have."""

    link: int
    kind: str
    root: bool
    own: bool
    rate: int = 0
    burst: int = 0
    limit: int = 0


def queue_row(body: bytes) -> QueueRow:
    """Decode a message about a queue."""
    _, index, handle, parent, _ = _TC.unpack_from(body)
    found = dict(attributes(body, _TC.size))
    kind = found.get(1, b"").rstrip(b"\0").decode(errors="replace")
    row = QueueRow(index, kind, parent == _ROOT and handle != 0, parent == _ROOT and handle == HANDLE)
    options = dict(attributes(found[2])) if kind == "tbf" and 2 in found else {}
    if not row.own or len(options.get(1, b"")) < _TBF.size:
        return row
    parts, peak, limit, buffer, _ = _TBF.unpack_from(options[1])
    _, _, overhead, _, least, speed = _RATE.unpack(parts)
    if overhead or least or any(peak[8:]):
        return row
    if 4 in options:
        speed = int.from_bytes(options[4], sys.byteorder)
    return row._replace(rate=speed * 8, burst=burst_of(speed * 8, buffer), limit=limit)


# --- filters


def redirection(index: int, to: int) -> Message:
    """Return the request to have all that comes in by a link go by another one first."""
    mirred = _MIRRED.pack(0, 0, _STOLEN, 0, 0, _REDIRECT, to)
    action = nested(1, attribute(1, b"mirred\0") + nested(2, attribute(2, mirred)))
    everything = _SELECTOR.pack(_TERMINAL, 0, 1, 0, 0, 0, 0, 0) + bytes(16)  # one struct tc_u32_key that is all zeros
    options = attribute(5, everything) + nested(7, action)
    return Message(NEWTFILTER, CREATE | EXCL, _filter(index) + attribute(1, b"u32\0") + nested(2, options))


def delete_redirection(index: int) -> Message:
    return Message(DELTFILTER, 0, _filter(index))


def _filter(index: int) -> bytes:
    return _TC.pack(0, index, 0, _AT_INGRESS, PRIORITY << 16 | _ETH_P_ALL)


def filters(index: int) -> bytes:
    """Return the body of the request for the filters of what comes in by a link."""
    return _TC.pack(0, index, 0, _AT_INGRESS, 0)


class FilterRow(NamedTuple):
    """What the kernel says of a filter: whether it is ours, and the index of the link that it redirects to, else 0."""

    own: bool
    to: int = 0


def filter_row(body: bytes) -> FilterRow:
    """Decode a message about a filter, or about what a filter of the kind u32 consists of."""
    info = _TC.unpack_from(body)[4]
    if info >> 16 != PRIORITY:
        return FilterRow(False)
    options = dict(attributes(dict(attributes(body, _TC.size)).get(2, b"")))
    for _, action in attributes(options.get(7, b"")):
        found = dict(attributes(action))
        mirred = dict(attributes(found.get(2, b""))).get(2, b"")
        if found.get(1) == b"mirred\0" and len(mirred) >= _MIRRED.size:
            return FilterRow(True, int.from_bytes(mirred[_INDEX_IN_MIRRED : _INDEX_IN_MIRRED + 4], sys.byteorder))
    return FilterRow(True)


# --- what is seen


class Queues(NamedTuple):
    """What a link has: the queue of ours (`rate` 0: none), the kind of somebody else's in its place, and what comes of
    packets that come in: `redirected` to the link with an index, 0 to one that is no more, None: not by us.

    `unused`: filters could be there, and none is.
    """

    rate: int = 0
    burst: int = 0
    limit: int = 0
    foreign: str = ""
    redirected: int | None = None
    unused: bool = False


def look(door: Socket, indexes: Collection[int]) -> Mapping[int, Queues]:
    """Return what those links have, by index; a link without any is left out."""
    found: dict[int, Queues] = {}
    for row in map(queue_row, door.dump(GETQDISC, all_queues())):
        if row.link not in indexes:
            continue
        one = found.get(row.link, Queues())
        if row.kind in ("ingress", "clsact"):
            found[row.link] = _with_filters(one, door, row)
        elif row.own:
            found[row.link] = one._replace(rate=row.rate, burst=row.burst, limit=row.limit)
        elif row.root:
            found[row.link] = one._replace(foreign=row.kind)
    return found


def _with_filters(one: Queues, door: Socket, row: QueueRow) -> Queues:
    rows = [filter_row(body) for body in door.dump(GETTFILTER, filters(row.link))]
    own = [filter_.to for filter_ in rows if filter_.own]
    return one._replace(redirected=max(own) if own else None, unused=row.kind == "ingress" and not rows)


def seen(queues: Mapping[int, Queues], links: Iterable[Link], inventory: Inventory) -> Iterator[Shaper]:
    """Yield the queues of the project's endpoints, by what their links have and which of them have the tag."""
    for link in links:
        if SHAPED not in link.tags or link.path.startswith(HALF_MADE):
            continue
        path = link.path + IFB
        outer, ends = queues.get(inventory.links[link.path].ifindex, Queues()), inventory.links.get(path)
        if outer.rate:
            yield Shaper(link.path, outer.rate, outer.burst, outer.limit)
        inner = queues.get(ends.ifindex, Queues()) if ends else Queues()
        if inner.rate or outer.redirected is not None or outer.unused:
            redirected = ends is not None and outer.redirected == ends.ifindex
            yield Shaper(path, inner.rate, inner.burst, inner.limit, redirected)


def taken(queues: Mapping[int, Queues], links: Iterable[Link], inventory: Inventory) -> Iterator[tuple[Key, str]]:
    """Yield the links of the project that have somebody else's queue, as `Facts.taken` has them."""
    for link in links:
        ends = inventory.links.get(link.path)
        if ends and (kind := queues.get(ends.ifindex, Queues()).foreign):
            mend = f"remove it (tc qdisc del dev {link.name} root), or the endpoint's bandwidth"
            yield Key("shaper", link.path), f"a qdisc {kind} that netapply did not make; {mend}"


# --- what is done


def make(batch: Sequence[Change], inventory: Inventory, runner: Runner) -> list[NetapplyError | None]:
    """Make changes to queues, those of many endpoints side by side."""
    return runner.run([_task(change, inventory) for change in batch])


def _task(change: Change, inventory: Inventory) -> Task:
    shaper = change.before if isinstance(change, Delete) else change.after
    if not isinstance(shaper, Shaper):
        raise TypeError(f"{change} is not about a queue")
    if isinstance(change, Delete):
        return _remove(shaper, inventory)
    return _set(shaper, inventory, change.fields if isinstance(change, Update) else ("rate", "redirect"))


def _set(shaper: Shaper, inventory: Inventory, fields: Collection[str]) -> Task:
    """Make or change a queue and, once it is there, what redirects packets to it."""
    what = f"queue of {shaper.link}"
    index = _index(inventory, shaper.link)
    if not {"rate", "burst", "limit"}.isdisjoint(fields):
        yield [Send(HOST, queue(index, shaper.rate, shaper.burst, shaper.limit), what)]
    if shaper.redirect and "redirect" in fields:
        outer, what = _index(inventory, shaper.endpoint), f"redirection of {shaper.endpoint}"
        yield [
            Send(HOST, new_ingress(outer), what, (errno.EEXIST,)),
            Send(HOST, delete_redirection(outer), what, _ABSENT),
            Send(HOST, redirection(outer, index), what),
        ]


_ABSENT = (errno.ENOENT, errno.EINVAL)
"""What the kernel says of a filter that is not there, or is on no qdisc."""


def _remove(shaper: Shaper, inventory: Inventory) -> Task:
    """Take away what redirects packets to a queue, then the queue. What went with its link is gone already."""
    outer = inventory.links.get(shaper.endpoint)
    if shaper.outward and outer:
        what = f"redirection of {shaper.endpoint}"
        yield [Send(HOST, delete_redirection(outer.ifindex), what, _ABSENT)]
        yield [Act(HOST, partial(_remove_ingress, outer.ifindex, what))]
    ends = inventory.links.get(shaper.link)
    if shaper.rate and ends:
        yield [Send(HOST, delete_queue(ends.ifindex), f"queue of {shaper.link}")]


def _remove_ingress(index: int, what: str, trap: Trap) -> None:
    """Take away what only filters need, unless there are some of somebody else's."""
    with Socket() as door:
        (found,) = door.send([get_ingress(index)])
        if not found.echo or queue_row(found.echo).kind != "ingress" or door.dump(GETTFILTER, filters(index)):
            return
        try:
            trap(f"delete {what}")
        except OSError as refused:
            raise failure(what, Answer(refused.errno or 0)) from refused
        (answer,) = door.send([delete_ingress(index)])
        if answer.errno:
            raise failure(what, answer)


def _index(inventory: Inventory, path: str) -> int:
    ends = inventory.links.get(path)
    if ends is None:
        raise OperationFailed(f"link {path} is not there (ENODEV)", errno.ENODEV)
    return ends.ifindex


def works(door: Socket) -> bool:
    """Whether the kernel has all of it, tried on `lo` of a namespace that is thrown away."""
    lo = 1
    answers = door.send([queue(lo, 8_000_000, 20_000, 100_000), new_ingress(lo), redirection(lo, lo)])
    return not any(answer.errno for answer in answers)
