"""Queues in a kernel in memory, and what redirects packets to them (see `reconciler.host.shaping`).

The rules are those of net/sched/sch_api.c and cls_api.c: somebody else's queue is in the way of ours, and a filter goes
to the link that was meant when it was made, also once that is no more.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterator

from ..resources import IFB, SHAPED, Key, Shaper
from .fake_kernel import Kernel
from .fake_links import Device, refuse

Path = Callable[[Device | None], str | None]
"""Returns the path of a link of the project's, None for every other link."""


def set_queue(kernel: Kernel, device: Device, shaper: Shaper) -> None:
    kernel.before()
    if device.foreign_queue:
        raise refuse(errno.EEXIST)
    device.queue = (shaper.rate, shaper.burst, shaper.limit)


def redirect(kernel: Kernel, device: Device, to: Device) -> None:
    """Have all that comes in by a link go by another one first, in three operations, as on a real host."""
    kernel.before()
    device.filtered = True
    kernel.before()
    device.redirected = None
    kernel.before()
    device.redirected = to


def change(kernel: Kernel, find: Callable[[str], Device], after: Shaper, fields: Collection[str]) -> None:
    """Make or change a queue, then what redirects packets to it."""
    device = find(after.link)
    if not {"rate", "burst", "limit"}.isdisjoint(fields):
        set_queue(kernel, device, after)
    if after.redirect and "redirect" in fields:
        redirect(kernel, find(after.endpoint), device)


def remove(kernel: Kernel, find: Callable[[str], Device], before: Shaper) -> None:
    """Take away what redirects packets to a queue, then the queue. What went with its link is gone already."""
    outer = _found(find, before.endpoint)
    if before.outward and outer:
        kernel.before()
        outer.redirected = None
        if outer.filtered:
            kernel.before()
            outer.filtered = False
    device = _found(find, before.link)
    if before.rate and device:
        kernel.before()
        if device.queue is None:
            raise refuse(errno.EINVAL)
        device.queue = None


def _found(find: Callable[[str], Device], path: str) -> Device | None:
    try:
        return find(path)
    except OSError:
        return None


def seen(kernel: Kernel, path: Path) -> Iterator[Shaper]:
    """Yield the queues of the project's endpoints."""
    own = {found: one for one in kernel.host.devices.values() if (found := path(one))}
    for name, device in own.items():
        if SHAPED not in device.tags:
            continue
        if device.queue:
            yield Shaper(name, *device.queue)
        inner = own.get(name + IFB)
        queue = inner.queue if inner else None
        if queue or device.filtered:
            redirected = inner is not None and device.redirected is inner
            yield Shaper(name + IFB, *(queue or (0, 0, 0)), redirected)


def taken(kernel: Kernel, path: Path) -> Iterator[tuple[Key, str]]:
    """Yield the links of the project that have somebody else's queue."""
    for device in kernel.host.devices.values():
        if device.foreign_queue and (found := path(device)):
            yield Key("shaper", found), f"a qdisc {device.foreign_queue} that netapply did not make"
