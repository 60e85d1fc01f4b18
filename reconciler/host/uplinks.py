"""Putting links of others into our bridges where a manifest asks for it, and leaving them as they were found."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from ..errors import OperationFailed
from ..resources import HOST, Port
from . import rtnetlink
from .observing import Ends, Inventory
from .steps import Send, Step, Task


def create(inventory: Inventory, port: Port) -> Task:
    """Put a link into its bridge, and set it up. Raises OperationFailed where somebody was quicker.

    It may be in that bridge already, where a failure came between it and the tag that says so.
    """
    index, what = inventory.foreign.get(port.name), f"uplink {port.name}"
    bridge = inventory.links.get(port.master)
    if index is None or bridge is None:
        gone = port.name if index is None else port.master
        raise OperationFailed(f"link {gone} is not there (ENODEV)", errno.ENODEV)
    (answer,) = yield [Send(HOST, rtnetlink.get_link(index=index), what)]
    if (row := rtnetlink.link_row(answer.echo)).master not in (0, bridge.ifindex):
        raise OperationFailed(f"{what} is in another bridge meanwhile (EBUSY)", errno.EBUSY)
    body = rtnetlink.link(index=index, master=bridge.ifindex)
    (answer,) = yield [Send(HOST, rtnetlink.set_link(body), what, (errno.EBUSY,))]
    if answer.errno:
        raise OperationFailed(f"{what}: a macvlan, an ipvlan or the like stands on it (EBUSY)", errno.EBUSY)
    inventory.links[port.path] = Ends(HOST, index, HOST, index)
    if port.up != row.up:
        yield [Send(HOST, rtnetlink.set_link(rtnetlink.link(index=index, up=port.up)), what)]


def update(inventory: Inventory, port: Port, fields: Sequence[str]) -> Task:
    """Change what can be: whether it is up."""
    if set(fields) - {"up"}:
        raise TypeError(f"{port} can't be changed in {', '.join(fields)}")
    index = _index(inventory, port)
    yield [Send(HOST, rtnetlink.set_link(rtnetlink.link(index=index, up=port.up)), f"uplink {port.name}")]


def delete(inventory: Inventory, port: Port) -> Task:
    """Take a link out of its bridge, down before if it was found so; one that somebody took out meanwhile stays so."""
    index, what = _index(inventory, port), f"uplink {port.name}"
    bridge = inventory.links.get(port.master)
    (answer,) = yield [Send(HOST, rtnetlink.get_link(index=index), what, (errno.ENODEV,))]
    inventory.links.pop(port.path, None)
    if answer.errno or bridge is None or rtnetlink.link_row(answer.echo).master != bridge.ifindex:
        return
    steps: list[Step] = []
    if not port.found_up:
        steps.append(Send(HOST, rtnetlink.set_link(rtnetlink.link(index=index, up=False)), what))
    steps.append(Send(HOST, rtnetlink.set_link(rtnetlink.link(index=index, master=0)), what))
    yield steps


def _index(inventory: Inventory, port: Port) -> int:
    ends = inventory.links.get(port.path)
    if ends is None:
        raise OperationFailed(f"uplink {port.name} is not there (ENODEV)", errno.ENODEV)
    return ends.ifindex
