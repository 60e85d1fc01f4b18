"""Making and changing links, as tasks (see `reconciler.host.steps`)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial

from .. import lacking
from ..errors import HostLacks, NetapplyError, OperationFailed
from ..naming import digest
from ..resources import HOST, LINK_GROUP, VLANS, Link, Option, Peer, value_of
from . import kinds, marks, namespaces, rtnetlink, sysctl
from .namespaces import Trap
from .netlink import Answer, Socket
from .observing import Ends, Inventory
from .steps import Act, Send, Step, Task, failure


def create(inventory: Inventory, link: Link) -> Task:
    """Make a link, in place and as complete as the kernel allows: marked before it is up.

    Killed at any point, what is there is in a group of ours, and so is found.
    """
    alias = marks.alias_of(inventory.project, link)
    name = link.name
    if link.peer is None and link.sandbox != HOST:
        name = _passing_name(inventory, link)  # the kernel looks for the name among the host's links, too
    target = link.peer.sandbox if link.peer else link.sandbox
    what = f"link {link.name}" if link.sandbox == HOST else f"link {link.name} of {link.sandbox}"
    with nullcontext(None) if target == HOST else namespaces.opened(_place(inventory, target)) as descriptor:
        body = _creation(inventory, link, name, descriptor)
        (answer,) = yield [Send(HOST, rtnetlink.new_link(body), what, (errno.EOPNOTSUPP,))]
    if answer.errno:
        raise _lacking(link, what, answer)
    home = HOST if link.peer else link.sandbox
    index = 0
    try:
        if not answer.echo:  # before Linux 6.2, and where it was made in another namespace
            (answer,) = yield [Send(home, rtnetlink.get_link(name), what)]
        index, other = rtnetlink.ends(answer.echo)
        inner = (link.peer.sandbox, other) if link.peer else (link.sandbox, index)
        yield list(_first_settings(inventory, link, index, other, alias, what))
    except NetapplyError:
        undo = rtnetlink.delete_link(index) if index else rtnetlink.delete_link(name=name)
        with suppress(NetapplyError):  # then it stays half-made, for the next run to remove
            yield [Send(home, undo, what)]
        raise
    inventory.links[link.path] = Ends(link.sandbox, index, *inner)


def _creation(inventory: Inventory, link: Link, name: str, descriptor: int | None) -> bytes:
    """Return the body of the creating request. `descriptor` is of the namespace of the other end, or of the link."""
    options = _encoded(link.kind, kinds.special(kinds.KINDS.get(link.kind, {}), link.options))
    if peer := link.peer:
        other = rtnetlink.link(
            name=peer.name, mtu=peer.mtu, mac=peer.mac, group=LINK_GROUP, netns_fd=descriptor, one_queue=True
        )
        options, descriptor = rtnetlink.veth_peer(other), None
    parent = _index(inventory, link.parent) if link.parent else None
    if link.kind == "vxlan" and parent:
        options, parent = options + kinds.vxlan_link(parent), None
    return rtnetlink.link(
        name=name,
        mtu=None if link.kind == "bridge" else link.mtu,  # a bridge keeps one that is set, not one that it is born with
        mac=link.mac,
        group=LINK_GROUP,
        parent=parent,
        netns_fd=descriptor,
        one_queue=link.peer is not None,
        kind=link.kind,
        options=options,
    )


def _first_settings(inventory: Inventory, link: Link, index: int, inner: int, alias: str, what: str) -> Iterator[Step]:
    """Yield what a new link lacks: mark, master and settings, and then up."""
    master = _index(inventory, link.master) if link.master else None
    rename = link.name if link.peer is None and link.sandbox != HOST else None
    mtu = link.mtu if link.kind == "bridge" else None
    body = rtnetlink.link(index=index, name=rename, alias=alias, master=master, mtu=mtu, ipv6=_unless_true(link.ipv6))
    yield Send(link.sandbox, rtnetlink.set_link(body), what)
    if link.master and VLANS in link.tags:
        yield _out_of_vlans(index, what)
    port = kinds.encode(kinds.PORT, kinds.special(kinds.PORT, link.port))
    if link.peer is None:
        yield from _set_sysctls(link.sandbox, link.name, link.sysctls)
    if link.up or port:
        yield Send(link.sandbox, rtnetlink.set_link(rtnetlink.link(index=index, up=link.up, port=port)), what)
    if peer := link.peer:
        whose = f"link {peer.name} of {peer.sandbox}"
        body = rtnetlink.link(index=inner, alias=alias, ipv6=_unless_true(peer.ipv6))
        yield Send(peer.sandbox, rtnetlink.set_link(body), whose)
        yield from _set_sysctls(peer.sandbox, peer.name, link.sysctls)
        if peer.up:
            yield Send(peer.sandbox, rtnetlink.set_link(rtnetlink.link(index=inner, up=True)), whose)


def _out_of_vlans(index: int, what: str) -> Send:
    """Return the step that takes a new port out of the VLAN which its bridge gives to all."""
    from . import vlans

    return Send(HOST, vlans.empty(index), what)


def _unless_true(ipv6: bool | None) -> bool | None:
    """Return False for False: new links make their IPv6 addresses themselves unless told not to."""
    return None if ipv6 else ipv6


def update(inventory: Inventory, before: Link, after: Link, fields: Sequence[str]) -> Task:
    """Change those fields of a link in place, and its mark with them."""
    ends = inventory.links.get(after.path)
    if ends is None:
        raise OperationFailed(f"link {after.name} is not there (ENODEV)", errno.ENODEV)
    alias = marks.alias_of(inventory.project, after)
    outer = [name for name in fields if not name.startswith(("peer.", "sysctls."))]
    inner = [name.removeprefix("peer.") for name in fields if name.startswith("peer.")]
    settings = [name.removeprefix("sysctls.") for name in fields if name.startswith("sysctls.")]
    marked = bool(settings) or "tags" in fields
    if outer or marked:
        yield from _update_end(inventory, ends.sandbox, ends.ifindex, before, after, outer, alias)
    if VLANS in after.tags and after.master and ("master" in fields or VLANS not in before.tags):
        yield [_out_of_vlans(ends.ifindex, f"link {after.name}")]
    if after.peer and before.peer and (inner or marked):
        if not ends.inner_ifindex:
            raise OperationFailed(f"the other end of {after.name} is lost (ENODEV)", errno.ENODEV)
        yield from _update_end(inventory, ends.inner_sandbox, ends.inner_ifindex, before.peer, after.peer, inner, alias)
    name = after.inner[1]
    wanted = {key: after.sysctls[key] for key in settings if key in after.sysctls}
    steps = list(_set_sysctls(ends.inner_sandbox, name, wanted))
    steps += [
        Act(ends.inner_sandbox, partial(_reset_sysctl, key, name)) for key in settings if key not in after.sysctls
    ]
    if steps:
        yield steps


def _update_end(
    inventory: Inventory,
    sandbox: str,
    index: int,
    before: Link | Peer,
    after: Link | Peer,
    fields: Sequence[str],
    alias: str,
) -> Task:
    """Change one end. Settings come before up, master before the port's options, since those are the master's."""
    what = f"link {after.name} of {sandbox}" if sandbox else f"link {after.name}"
    if "name" in fields:
        yield from _rename(sandbox, index, after.name, before.up, what)
    value = {name: value_of(after, name) for name in fields}
    master = value.get("master")
    body = rtnetlink.link(
        index=index,
        alias=alias,
        mtu=after.mtu if "mtu" in fields else None,
        mac=after.mac if "mac" in fields else None,
        master=(_index(inventory, str(master)) if master else 0) if "master" in fields else None,
        ipv6=False if value.get("ipv6") is False else None,
    )
    steps: list[Step] = [Send(sandbox, rtnetlink.set_link(body), what)]
    if isinstance(after, Link):
        steps += _options(after, sandbox, index, fields, what)
    if "up" in fields:
        steps.append(Send(sandbox, rtnetlink.set_link(rtnetlink.link(index=index, up=after.up)), what))
    if value.get("ipv6") is False:
        steps.append(Act(sandbox, partial(_drop_kernel_addresses, index, what)))
    if value.get("ipv6"):
        # by this way the kernel makes the address at once, by netlink only when the link comes up the next time
        steps.append(Act(sandbox, partial(sysctl.write, f"net.ipv6.conf.{after.name}.addr_gen_mode", "0")))
    yield steps


def _options(after: Link, sandbox: str, index: int, fields: Sequence[str], what: str) -> Iterator[Send]:
    options = {name.partition(".")[2]: None for name in fields if name.startswith("options.")}
    port = {name.partition(".")[2]: None for name in fields if name.startswith("port.")}
    if options:
        encoded = _encoded(after.kind, {name: after.options[name] for name in options})
        body = rtnetlink.link(index=index, kind=after.kind, options=encoded)
        yield Send(sandbox, rtnetlink.set_link(body), what)
    if port:
        encoded = kinds.encode(kinds.PORT, {name: after.port[name] for name in port})
        yield Send(sandbox, rtnetlink.set_link(rtnetlink.link(index=index, port=encoded)), what)


def _rename(sandbox: str, index: int, name: str, up: bool, what: str) -> Task:
    """Rename a link."""
    body = rtnetlink.link(index=index, name=name)
    if not up or renames_live():
        yield [Send(sandbox, rtnetlink.set_link(body), what)]
        return
    yield [
        Send(sandbox, rtnetlink.set_link(rtnetlink.link(index=index, up=False)), what),
        Send(sandbox, rtnetlink.set_link(body), what),
        Send(sandbox, rtnetlink.set_link(rtnetlink.link(index=index, up=True)), what),
    ]


def renames_live() -> bool:
    """Whether links can be renamed while they are up: from Linux 6.2 on."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(minor)) >= (6, 2)


def _set_sysctls(sandbox: str, name: str, settings: Mapping[str, str]) -> Iterator[Act]:
    for key, value in settings.items():
        yield Act(sandbox, partial(sysctl.write, sysctl.of_link(key, name), value))


def _reset_sysctl(key: str, name: str, trap: Trap) -> None:
    """Give a link's setting the value that new links get there: what `lo` got where nothing says it.

    Of what is under neigh, the kernel shows the defaults in the machine's first namespace alone.
    """
    value = sysctl.read(sysctl.of_link(key, "default"))
    value = sysctl.read(sysctl.of_link(key, "lo")) if value is None and ".neigh." in key else value
    if value is not None:
        sysctl.write(sysctl.of_link(key, name), value, trap)


def _drop_kernel_addresses(index: int, what: str, trap: Trap) -> None:
    """Delete the IPv6 addresses that the kernel made for a link by itself."""
    with Socket() as door:
        for body in door.dump(rtnetlink.GETADDR, rtnetlink.all_addresses()):
            row = rtnetlink.address_row(body)
            if row.ifindex != index or row.protocol not in rtnetlink.KERNEL_MADE or ":" not in row.address:
                continue
            try:
                trap(f"delete address {row.address} of {what}")
            except OSError as refused:
                raise failure(f"address {row.address} of {what}", Answer(refused.errno or 0)) from refused
            (answer,) = door.send([rtnetlink.delete_address(index, row.address)])
            if answer.errno not in (0, errno.EADDRNOTAVAIL):
                raise failure(f"address {row.address} of {what}", answer)


def _passing_name(inventory: Inventory, link: Link) -> str:
    """Return the name under which a link is made before it gets its own: derived, so that no two meet."""
    return f"nm{digest('passing', inventory.project, link.path).hex()[:13]}"


def _place(inventory: Inventory, sandbox: str) -> namespaces.Place:
    place = inventory.places.get(sandbox)
    if place is None:
        raise OperationFailed(f"container {sandbox} has no network namespace (ENOENT)", errno.ENOENT)
    return place


def _index(inventory: Inventory, reference: str) -> int:
    """Return the index of a link in the host: "/NAME", or the path of one of ours."""
    if reference.startswith("/"):
        index = inventory.foreign.get(reference[1:])
    else:
        ends = inventory.links.get(reference)
        index = ends.ifindex if ends else None
    if index is None:
        raise OperationFailed(f"link {reference.removeprefix('/')} is not there (ENODEV)", errno.ENODEV)
    return index


def _encoded(kind: str, options: Mapping[str, Option]) -> bytes:
    fields = kinds.KINDS.get(kind)
    if fields is None:
        raise HostLacks(f"netapply makes no links of kind {kind}; it knows {', '.join(kinds.KINDS)}")
    unknown = options.keys() - fields.keys()
    if unknown:
        raise HostLacks(f"a link of kind {kind} has no option {', '.join(sorted(unknown))}")
    return kinds.encode(fields, options)


def _lacking(link: Link, what: str, answer: Answer) -> HostLacks | OperationFailed:
    if answer.text == rtnetlink.UNKNOWN_KIND:
        return HostLacks(f"the kernel makes no links of kind {link.kind}; {lacking.mend(link.kind)}")
    return OperationFailed(f"{what}: {answer.reason}", answer.errno)
