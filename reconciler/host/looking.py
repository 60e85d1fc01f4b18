"""Looking into namespaces: one `Look` for each, what the kernel says in it, not yet interpreted."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from ..errors import NetapplyError, OperationFailed
from ..naming import ifb_name
from ..networks import SandboxRef
from ..resources import ALIAS, IFB, SHAPED, VLANS
from ..sandboxes import Finder, Found, Pending
from ..values import dataclass, field
from . import Scope, dns, marks, namespaces, rtnetlink, sysctl
from .marks import Mark
from .namespaces import Place
from .netlink import Socket
from .rtnetlink import AddressRow, LinkRow, RouteRow

if TYPE_CHECKING:
    from .shaping import Queues


@dataclass(slots=True)
class Look:
    """What one namespace holds. `containers` are those of the scope that are in it, `busy` whether processes are; the
    project's own resolver is none: it lives by the namespace, and not the other way round.

    `reference` says where it was found ("netns:web", "pid:42", "" for the host's). `host_nsid` is the number by which
    it knows the host's namespace, None where it knows none or nobody had to ask. `sysctls` are the values of links'
    settings that a mark names, by the link's index, `vlans` those of bridges and ports if a mark says that some are
    netapply's: number, whether it is the one of frames without a tag, and whether its frames go out without one.
    `queues` are those of links by index, if they matter.
    """

    cookie: int
    place: Place
    reference: str
    links: Sequence[LinkRow]
    addresses: Sequence[AddressRow] = ()
    routes: Sequence[RouteRow] = ()
    sysctls: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    vlans: Mapping[int, Sequence[tuple[int, bool, bool]]] = field(default_factory=dict)
    queues: Mapping[int, Queues] = field(default_factory=dict)
    host_nsid: int | None = None
    busy: bool = False
    containers: list[str] = field(default_factory=list)

    @property
    def loopback(self) -> LinkRow:
        if self.links and self.links[0].ifindex == rtnetlink.LOOPBACK:
            return self.links[0]
        return LinkRow(rtnetlink.LOOPBACK, 0, "lo")


@dataclass(slots=True)
class Looks:
    """All that was seen: the host's namespace, those of the scope, and others with something of netapply's in them.

    `leftovers` are name files of ours without a namespace: name and mark. `pending` says why a container has none;
    those that are `elusive` may have one, which whoever should know does not tell. `blocked` says what stands in the
    place of a namespace's name. `resolvers` are the project's own that run in others' namespaces, by inode.
    """

    host: Look
    others: list[Look] = field(default_factory=list)
    in_host: set[str] = field(default_factory=set)
    pending: dict[str, str] = field(default_factory=dict)
    elusive: set[str] = field(default_factory=set)
    leftovers: dict[str, Mark] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    resolvers: Mapping[int, int] = field(default_factory=dict)


Ahead: TypeAlias = Callable[[str, int, bool], Look | None]
"""Answers what was seen already of the namespace that a path leads to: by the path, its inode, and whether the whole is
wanted."""


def look_around(
    home: int, door: Socket, scope: Scope, finder: Finder, kept: Sequence[str] = (), ahead: Ahead | None = None
) -> Looks:
    """Look at the host, the sandboxes of the scope, and wherever else something of ours may be; `kept` lead there, too.

    `home` is a descriptor of the host's namespace, `door` a socket in it, `ahead` has looked into some already. Changes
    nothing. Raises NotPermitted.
    """
    looks = Looks(_look(door, Place("/proc/thread-self/ns/net"), "", None, whole=True, shaped=scope.shaped))
    inode = os.fstat(home).st_ino
    lived_in, looks.resolvers = _processes(inode, dns.inside(door.cookie, scope.project))
    seen = _Seen(home, looks, {inode: looks.host}, lived_in, ahead)
    with namespaces.back_to(home):
        _look_at_sandboxes(seen, scope.sandboxes, finder)
        for name in namespaces.names():
            if (path := namespaces.path_of(name)) not in seen.paths:
                seen.visit(path, f"netns:{name}")
        for inode, pid in (*lived_in.items(), *looks.resolvers.items()):
            if inode not in seen.by_inode:
                seen.visit(f"/proc/{pid}/ns/net", f"pid:{pid}")
        for path in kept:
            seen.visit(path, "kept")
    return looks


def each(paths: Sequence[str], home: int, whole: Collection[str]) -> Iterator[tuple[str, tuple[int, Look]]]:
    """Yield what is in the namespaces that the paths lead to, with the paths and inodes, for `Ahead`; what can't be
    entered is left out. `whole` are those of which the whole is wanted."""
    for path in paths:
        with suppress(OSError, NetapplyError), namespaces.opened(Place(path)) as descriptor:
            yield path, (os.fstat(descriptor).st_ino, _enter(descriptor, path, "", home, whole=path in whole))


def _enter(descriptor: int, path: str, reference: str, home: int, *, whole: bool) -> Look:
    """Enter a namespace and look. Leaves the thread in it. Raises OSError."""
    namespaces.setns(descriptor)
    with Socket(looking=True) as door:
        return _look(door, Place(path), reference, home, whole=whole)


def look_near(home: int, door: Socket, sandboxes: Mapping[str, SandboxRef], finder: Finder) -> Looks:
    """Look at the sandboxes, and in the host at those links only that theirs lead to, and the masters of these.

    For a host with thousands of links of which a few were changed. Raises NotPermitted.
    """
    looks = Looks(Look(door.cookie, Place("/proc/thread-self/ns/net"), "", []))
    seen = _Seen(home, looks, {os.fstat(home).st_ino: looks.host}, {})
    with namespaces.back_to(home):
        _look_at_sandboxes(seen, sandboxes, finder)
    ends = _links_at(door, {row.below for look in looks.others for row in look.links if row.below_nsid is not None})
    masters = _links_at(door, {row.master for row in ends} - {row.ifindex for row in ends} - {0})
    looks.host.links = [*ends, *masters]
    marked = [(row, found) for row in ends if row.alias and (found := marks.mark(row.alias))]
    looks.host.vlans = _vlans(door, [found for _, found in marked])
    if names := [ifb_name(one.project, one.path + IFB) for _, one in marked if SHAPED in one.tags]:
        answers = door.send([rtnetlink.get_link(name) for name in names])
        looks.host.links = [*looks.host.links, *(rtnetlink.link_row(one.echo) for one in answers if one.echo)]
        looks.host.queues = _queues(door, looks.host.links)
    return looks


def _links_at(door: Socket, indexes: Collection[int]) -> list[LinkRow]:
    """Return the links with those indexes; what is not there, or in another namespace, is left out."""
    answers = door.send([rtnetlink.get_link(index=index) for index in indexes])
    return [rtnetlink.link_row(answer.echo) for answer in answers if answer.echo]


def _look_at_sandboxes(seen: _Seen, sandboxes: Mapping[str, SandboxRef], finder: Finder) -> None:
    """Look at where the containers are. One that was restarted meanwhile is asked for once more."""
    answers = finder.find(sandboxes.values())
    again = {
        container: reference
        for container, reference in sandboxes.items()
        if not _look_at_sandbox(seen, container, reference, answers.get(reference))
    }
    answers = finder.find(again.values()) if again else {}
    for container, reference in again.items():
        if not _look_at_sandbox(seen, container, reference, answers[reference]):
            seen.looks.pending[container] = f"{reference} is just starting or ending"
            seen.looks.elusive.add(container)


def _look_at_sandbox(seen: _Seen, container: str, reference: SandboxRef, answer: Found | Pending | None) -> bool:
    """Look at one, and note what there is. Return False where the answer has been overtaken by what happened."""
    looks = seen.looks
    if answer is None:  # it is the host's
        looks.in_host.add(container)
        return True
    if isinstance(answer, Pending):
        looks.pending[container] = answer.reason
        if not answer.absent:
            looks.elusive.add(container)
        return True
    look = seen.visit(answer.path, str(reference), found=answer)
    if look is looks.host:
        looks.in_host.add(container)
    elif look is not None:
        look.containers.append(container)
    elif answer.pid:
        return False
    elif not reference.create:
        looks.pending[container] = f"there is no network namespace {answer.path}"
    elif os.path.lexists(answer.path) and not os.path.isfile(answer.path):
        looks.blocked[container] = f"{answer.path} is no file that a namespace can be mounted on"
    return True


@dataclass(slots=True)
class _Seen:
    """The namespaces seen so far, by inode: unique among those that are there at one time. `paths` led there."""

    home: int
    looks: Looks
    by_inode: dict[int, Look]
    lived_in: Mapping[int, int]
    ahead: Ahead | None = None
    paths: set[str] = field(default_factory=set)

    def visit(self, path: str, reference: str, *, found: Found | None = None) -> Look | None:
        """Enter a namespace and look, unless it was seen before. None where there is none, or none any more.

        `found` is what led to one of the scope's. Leaves the thread in it. Raises NotPermitted.
        """
        scoped = found is not None
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as failure:
            self._pass_over(failure, path, scoped)
            return None
        try:
            if found and not found.holds:
                return None
            inode = os.fstat(descriptor).st_ino
            self.paths.add(path)
            if look := self.by_inode.get(inode):
                return look
            look = self.ahead(path, inode, scoped) if self.ahead else None
            look = look or _enter(descriptor, path, reference, self.home, whole=scoped)
        except OSError as failure:
            if failure.errno == errno.EINVAL:
                self._note_leftover(descriptor, reference)
            else:
                self._pass_over(failure, path, scoped)
            return None
        finally:
            os.close(descriptor)
        look.reference, look.busy = reference, inode in self.lived_in
        self.by_inode[inode] = look
        self.looks.others.append(look)
        return look

    def _note_leftover(self, descriptor: int, reference: str) -> None:
        if found := marks.mark(namespaces.left_mark(descriptor)):
            self.looks.leftovers[reference.removeprefix("netns:")] = found

    def _pass_over(self, failure: OSError, path: str, scoped: bool) -> None:
        """Pass over what is gone, and the processes of others; anything else must not stay unseen."""
        gone = failure.errno in (errno.ENOENT, errno.ESRCH, errno.ENOTDIR, errno.ENXIO, errno.ENAMETOOLONG)
        hidden = failure.errno in (errno.EACCES, errno.EPERM) and path.startswith("/proc/") and not scoped
        if not gone and not hidden:
            raise namespaces.refuse(failure, f"namespace {path}") from failure


def _queues(door: Socket, links: Sequence[LinkRow]) -> Mapping[int, Queues]:
    from . import shaping

    return shaping.look(door, {row.ifindex for row in links if row.alias.startswith(ALIAS)})


def _look(door: Socket, place: Place, reference: str, home: int | None, *, whole: bool, shaped: bool = False) -> Look:
    """Ask for what is there. Unless the `whole` is wanted, addresses and routes only where something is ours."""
    cookie = door.cookie
    links = [
        rtnetlink.loopback_row(body)
        if home is not None and rtnetlink.index_of_link(body) == rtnetlink.LOOPBACK
        else rtnetlink.link_row(body)
        for body in door.dump(rtnetlink.GETLINK, rtnetlink.all_links())
    ]
    look = Look(cookie, Place(place.path, cookie), reference, links)
    marked = [(row, found) for row in links if row.alias and (found := marks.mark(row.alias))]
    if whole or marked or any(row.alias.startswith(marks.OF_PLUGINS) for row in links):
        look.addresses, look.routes = _addresses(door, home is None), _routes(door, home is None)
    look.sysctls = {
        row.ifindex: dict(_settings(row.name, found.sysctls))
        for row, found in marked
        if found.sysctls and (home is not None or row.kind != "veth")  # those of a pair are the inner end's
    }
    if home is None:
        look.vlans = _vlans(door, [found for _, found in marked])
        if shaped or any(SHAPED in found.tags for _, found in marked):
            look.queues = _queues(door, links)
    if home is not None and any(
        row.below_nsid is not None and (row.kind != "veth" or (not whole and (row.group or row.alias))) for row in links
    ):
        look.host_nsid = rtnetlink.nsid(door.send([rtnetlink.get_nsid(home)])[0].echo)
    return look


def _addresses(door: Socket, host: bool) -> list[AddressRow]:
    """Return the addresses; of a sandbox without those of `lo`, which are none of our business."""
    bodies = door.dump(rtnetlink.GETADDR, rtnetlink.all_addresses())
    return [
        rtnetlink.address_row(body) for body in bodies if host or rtnetlink.index_of_address(body) != rtnetlink.LOOPBACK
    ]


def _routes(door: Socket, host: bool) -> list[RouteRow]:
    """Return the routes of the main table; of a sandbox without those that the kernel makes with an address."""
    bodies = door.dump(rtnetlink.GETROUTE, rtnetlink.main_routes())
    rows = (
        rtnetlink.route_row(body)
        for body in bodies
        if host or rtnetlink.protocol_of_route(body) != rtnetlink.KERNEL_PROTOCOL
    )
    return [row for row in rows if row]


def _vlans(door: Socket, found: Sequence[Mark]) -> Mapping[int, Sequence[tuple[int, bool, bool]]]:
    """Return the VLANs of all bridges and ports by index, if one of the marks says that some are netapply's."""
    if not any(VLANS in mark.tags for mark in found):
        return {}
    from . import vlans

    return dict(map(vlans.row, door.dump(rtnetlink.GETLINK, vlans.all_ports())))


def _settings(link: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        with suppress(OperationFailed):  # somebody wrote it into the alias
            if (value := sysctl.read(sysctl.of_link(name, link))) is not None:
                yield name, value


def _processes(home: int, resolvers: str | None) -> tuple[dict[int, int], dict[int, int]]:
    """Return the namespaces that processes are in, and those that resolvers with files of a folder are in, each as
    inodes with one process. Other users' may be missing."""
    lived_in: dict[int, int] = {}
    found: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError, ValueError):
                inode = int(os.readlink(f"/proc/{entry}/ns/net")[5:-1])  # "net:[4026531840]"
                if inode not in lived_in:
                    own = resolvers is not None and inode != home and dns.is_resolver(entry, resolvers)
                    (found if own else lived_in).setdefault(inode, int(entry))
    return lived_in, found


def inodes_of_processes() -> dict[int, int]:
    """Return the network namespaces that processes are in: inode, and one process each. Other users' may be missing."""
    return _processes(0, None)[0]
