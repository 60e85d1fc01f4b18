"""Deleting links: many of one namespace in one request, since the kernel waits for RCU at each (14 to 19 ms)."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from ..errors import NetapplyError, OperationFailed
from ..plan import Change, Delete
from ..resources import HOST, LINK_GROUP, Key, Link
from . import marks, rtnetlink
from .netlink import Answer, Message, Socket
from .observing import HALF_MADE, Inventory
from .steps import Runner, Send, failure

MANY = 3
"""From how many links on it is quicker to delete a group than one after the other."""


def delete(batch: Sequence[Change], inventory: Inventory, runner: Runner) -> list[NetapplyError | None]:
    """Delete links; those in one namespace together, the host's last, since others may stand on them."""
    outcomes: dict[Key, NetapplyError | None] = {}
    by_sandbox: dict[str, list[Link]] = {}
    for change in batch:
        if isinstance(change, Delete) and isinstance(change.before, Link):
            by_sandbox.setdefault(_sandbox_of(change.before, inventory), []).append(change.before)
    for sandbox, doomed in sorted(by_sandbox.items(), key=lambda item: item[0] == HOST):
        outcomes |= {
            link.key: OperationFailed(f"link {link.name} is not there (ENODEV)", errno.ENODEV)
            for link in doomed
            if link.path not in inventory.links
        }
        known = [(link, ends.ifindex) for link in doomed if (ends := inventory.links.pop(link.path, None))]
        try:
            with runner.door(sandbox) as door:
                answers = _delete_in(sandbox, known, runner, door)
        except NetapplyError as error:
            outcomes |= {link.key: error for link, _ in known}
            continue
        for (link, _), answer in zip(known, answers, strict=True):
            halved = link.path.startswith(HALF_MADE) or (link.kind == "veth" and link.peer is None)
            gone = answer.errno == errno.ENODEV and halved  # with its other end, whose namespace has ended
            outcomes[link.key] = failure(f"link {link.name}", answer) if answer.errno and not gone else None
    return [outcomes[change.key] for change in batch]


def _sandbox_of(link: Link, inventory: Inventory) -> str:
    ends = inventory.links.get(link.path)
    return ends.sandbox if ends else link.sandbox


def _delete_in(sandbox: str, doomed: list[tuple[Link, int]], runner: Runner, door: Socket) -> list[Answer]:
    """Delete the links of one namespace, many of them in one request: that costs the kernel one grace period."""
    group = _free_group(door) if len(doomed) >= MANY else None
    if group is None:
        return runner.send([_send(sandbox, link, rtnetlink.delete_link(index)) for link, index in doomed], door)
    answers = runner.send([_move(sandbox, link, index, group) for link, index in doomed], door)
    moved = {index: place for place, (_, index) in enumerate(doomed) if not answers[place].errno}
    if not moved:
        return answers
    members = {row.ifindex for row in _rows(door) if row.group == group}
    if members == moved.keys():
        step = Send(sandbox, rtnetlink.delete_group(group), f"{len(moved)} links")
        answer = runner.send([step], door)[0]
        if answer.errno:
            runner.send([_move(sandbox, *doomed[place], LINK_GROUP) for place in moved.values()], door)
        return [answer if place in moved.values() else answers[place] for place in range(len(doomed))]
    for index, place in moved.items():  # somebody uses the very group
        answers[place] = runner.send([_send(sandbox, doomed[place][0], rtnetlink.delete_link(index))], door)[0]
    return answers


def _send(sandbox: str, link: Link, message: Message) -> Send:
    return Send(sandbox, message, f"link {link.name} of {sandbox}" if sandbox != HOST else f"link {link.name}")


def _move(sandbox: str, link: Link, index: int, group: int) -> Send:
    return _send(sandbox, link, rtnetlink.set_link(rtnetlink.link(index=index, group=group)))


def _free_group(door: Socket) -> int | None:
    """Return a scratch group that no link of the namespace is in."""
    used = {row.group for row in _rows(door)}
    return next((group for group in marks.SCRATCH_GROUPS if group not in used), None)


def _rows(door: Socket) -> list[rtnetlink.LinkRow]:
    return [rtnetlink.link_row(body) for body in door.dump(rtnetlink.GETLINK, rtnetlink.all_links())]
