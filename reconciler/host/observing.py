"""From looks into namespaces to the project's state: what is ours, which ends belong together, and where it all is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ..naming import fence_metric
from ..resources import (
    FENCES,
    HOST,
    ROUTE_PROTOCOL,
    UPLINK,
    VLANS,
    Address,
    BridgeVlan,
    Link,
    Netns,
    Peer,
    Port,
    Resource,
    Route,
)
from ..values import dataclass, field
from . import Scope, kinds, marks
from .looking import Look, Looks
from .marks import Mark
from .namespaces import Place
from .rtnetlink import LinkRow, RouteRow

HALF_MADE = "?"
"""How the path of a link, or the name of a sandbox, begins that nothing in a manifest can be: a killed run left it."""

_IFF_LOOPBACK = 8


class Ends(NamedTuple):
    """Where a link of ours is, for who acts on it: the outer end, and the one that the container sees (the same one if
    it is no pair). `inner_ifindex` is 0 where the other end is lost."""

    sandbox: str
    ifindex: int
    inner_sandbox: str
    inner_ifindex: int


@dataclass(slots=True)
class Inventory:
    """What acting needs to know beyond the state. Kept up to date by who acts.

    `host` is the cookie of the host's namespace, `places` are namespaces by sandbox (the host's is not among them),
    `links` those of ours by path, `foreign` the indexes of the host's other links by name. `misplaced` are the paths of
    links that are in a scratch group, `collected` the networks whose plugins were asked for leftovers. `readers`
    are, by network, the resolvers that read its names: their configurations, and processes. `resolvers` are all.
    """

    project: str
    host: int
    places: dict[str, Place] = field(default_factory=dict)
    links: dict[str, Ends] = field(default_factory=dict)
    foreign: dict[str, int] = field(default_factory=dict)
    misplaced: list[str] = field(default_factory=list)
    collected: set[str] = field(default_factory=set)
    readers: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    resolvers: dict[str, list[int]] = field(default_factory=dict)


class _Own(NamedTuple):
    """A link of ours, or one end of it, as found. `mark` is None for a half-made one."""

    look: Look
    row: LinkRow
    mark: Mark | None


@dataclass(slots=True)
class View:
    """The looks, seen by one project. `symbols` are the sandboxes' names by cookie, the host's among them."""

    looks: Looks
    scope: Scope
    symbols: dict[int, str] = field(default_factory=dict)
    inventory: Inventory = field(init=False)
    paths: dict[tuple[int, int], str] = field(default_factory=dict)
    """The path of the link whose end has that index in the namespace with that cookie."""
    found_up: dict[str, bool] = field(default_factory=dict)
    """The links of others that are ports of our bridges because a manifest says so, and whether they were up before."""
    unsure: dict[str, str] = field(default_factory=dict)
    """The containers that are known by their endpoints alone, and why."""

    def __post_init__(self) -> None:
        self.inventory = Inventory(self.scope.project, self.looks.host.cookie)
        if self.looks.elusive:
            self._find_attached()
        self._name_sandboxes()

    def resources(self) -> Iterator[Resource]:
        """Yield what there is of the project in namespaces: sandboxes, links, addresses and routes."""
        yield from self._sandboxes()
        links = list(self._links())
        yield from links
        if any(link.tags for link in links):
            ports = list(self._ports(links))
            yield from ports
            yield from self._vlans(links, ports)
            if self.looks.host.queues:
                from . import shaping

                yield from shaping.seen(self.looks.host.queues, links, self.inventory)
        yield from self._addresses()
        yield from self._routes()

    def everywhere(self) -> Iterator[Look]:
        yield self.looks.host
        yield from self.looks.others

    def sandbox_of(self, look: Look, path: str) -> str:
        """Return the sandbox by which a namespace goes as the place of a link: the link's own container's if it is
        there, since several containers can be in one namespace."""
        if len(look.containers) > 1:
            container = path.partition("#")[0].rpartition("/")[0]
            if container in look.containers:
                return container
        return self.symbols[look.cookie]

    # --- sandboxes

    def _find_attached(self) -> None:
        """Know pending containers by their endpoints, where a runtime should have said where they are.

        It may be down while its containers run on; and a namespace lives on without the container that is known for it,
        as that of a pod. Nobody is to lose a network by that. Two such namespaces leave it open which one is meant.
        """
        found: dict[str, list[Look]] = {}
        delegated = self._delegated()
        for look in self.looks.others:
            if not look.busy:
                continue
            marked = [(row, mark) for row in look.links if row.alias and (mark := marks.mark(row.alias))]
            for name in delegated.get(look.cookie, set()) | {
                mark.path.partition("#")[0].rpartition("/")[0]
                for row, mark in marked
                if mark.project == self.scope.project and _leads_to_host(look, row)
            }:
                if name in self.looks.elusive and self.scope.sandboxes[name].is_anothers:
                    found.setdefault(name, []).append(look)
        for name, looks in found.items():
            if len(looks) == 1:
                looks[0].containers.append(name)
                self.unsure[name] = self.looks.pending.pop(name)

    def _delegated(self) -> Mapping[int, set[str]]:
        """Return the containers that have endpoints by plugins, by the cookies of the namespaces that these are in."""
        from . import delegates

        found: dict[int, set[str]] = {}
        if delegates.recorded(self.looks.host.cookie, self.scope.project):
            from .delegates import records

            for record in records.load_all(self.looks.host.cookie, self.scope.project):
                found.setdefault(record.cookie, set()).add(record.path.rpartition("/")[0])
        return found

    def _name_sandboxes(self) -> None:
        host, places = self.looks.host, self.inventory.places
        self.symbols[host.cookie] = HOST
        for look in self.looks.others:
            for container in look.containers:
                places[container] = look.place
            if look.containers:
                self.symbols[look.cookie] = min(look.containers)  # as `Facts.together` has them
        for look in self.looks.others:
            if look.containers:
                continue
            found, name = self.marked(look), f"@{_name_of(look)}"
            if found and found.path not in places and found.path not in self.scope.sandboxes:
                name = found.path
            self.symbols[look.cookie] = name
            places[name] = look.place

    def marked(self, look: Look) -> Mark | None:
        """Return the mark of a namespace that this project made."""
        found = marks.mark(look.loopback.alias)
        return found if found and self._ours(found) else None

    def _ours(self, found: Mark) -> bool:
        return found.project == self.scope.project and marks.made_by(found, self.looks.host.cookie)

    def _made(self, look: Look) -> bool:
        """Whether it is a namespace of this project's, by mark and by name: one without a name may be another host's,
        where netapply has run for a project of the same name."""
        return look.reference.startswith("netns:") and self.marked(look) is not None

    def _sandboxes(self) -> Iterator[Netns]:
        for look in self.looks.others:
            ours, up = self.marked(look) is not None, look.loopback.up
            references = [self.scope.sandboxes[container] for container in look.containers]
            created = any(reference.create for reference in references)  # then it is that one's, and others are in it
            for container, reference in zip(look.containers, references, strict=True):
                if ours or not reference.create:
                    adopted = not ours or (created and not reference.create)
                    yield Netns(container, str(reference), adopted, up, look.busy)
            if not look.containers and self._made(look):
                yield Netns(self.symbols[look.cookie], look.reference, False, up, look.busy)
        for name, mark in self.looks.leftovers.items():
            if self._ours(mark):
                yield Netns(HALF_MADE + name, f"netns:{name}", False, None, False)

    # --- links

    def _links(self) -> Iterator[Link]:
        own = [one for look in self.everywhere() for one in self._own_of(look)]
        inner_ends = self._pairs(own)
        consumed = {(one.look.cookie, one.row.ifindex) for one in inner_ends.values()}
        names = {(look.cookie, row.ifindex): row.name for look in self.everywhere() for row in look.links}
        mine = [
            one
            for one in own
            if (one.look.cookie, one.row.ifindex) not in consumed
            and (one.look is self.looks.host or one.row.kind != "veth")  # the other end is not in this host
        ]
        taken: set[str] = set()
        paths: list[str] = []
        for one in mine:
            path = one.mark.path if one.mark else ""
            if not path or path in taken:
                where = self.symbols[one.look.cookie]
                path = HALF_MADE + one.row.name + (f"@{where}" if where else "")
            taken.add(path)
            paths.append(path)
            self._remember(one, inner_ends.get((one.look.cookie, one.row.ifindex)), path)
        for one, path in zip(mine, paths, strict=True):
            yield self._link(one, inner_ends.get((one.look.cookie, one.row.ifindex)), path, names)

    def _own_of(self, look: Look) -> Iterator[_Own]:
        """Yield the links of ours: by their marks, and in other namespaces by what ties them to the host, too.

        A namespace may be a host itself, where netapply has run for a project of the same name.
        """
        host = look is self.looks.host
        for row in look.links:
            if row.flags & _IFF_LOOPBACK:
                continue
            found = marks.mark(row.alias)
            ours = found.project == self.scope.project if found else row.group in marks.GROUPS and not row.alias
            if ours and (host or _leads_to_host(look, row)):
                yield _Own(look, row, found)
            elif host:
                self.inventory.foreign[row.name] = row.ifindex

    def _pairs(self, own: list[_Own]) -> dict[tuple[int, int], _Own]:
        """Return the inner ends of veth pairs, by cookie and index of their outer ends, which are in the host.

        Each end gives the other's index. That the other is in the same pair is sure enough when it says so too: an
        index of the host's is given once, and the marks must agree.
        """
        host = self.looks.host
        ends: dict[tuple[int, int], list[_Own]] = {}
        for one in own:
            if one.row.kind == "veth":
                ends.setdefault((one.row.below, one.row.ifindex), []).append(one)
        pairs: dict[tuple[int, int], _Own] = {}
        consumed: set[tuple[int, int]] = set()
        for outer in own:
            if outer.row.kind != "veth" or outer.look is not host or (host.cookie, outer.row.ifindex) in consumed:
                continue
            same = [
                one
                for one in ends.get((outer.row.ifindex, outer.row.below), ())
                if (one.look is host) == (outer.row.below_nsid is None)
                and (one.mark is None or outer.mark is None or one.mark.path == outer.mark.path)
            ]
            if same:
                inner = max(same, key=lambda one: one.mark is not None)
                pairs[host.cookie, outer.row.ifindex] = inner
                consumed.add((inner.look.cookie, inner.row.ifindex))
        return pairs

    def _remember(self, one: _Own, inner: _Own | None, path: str) -> None:
        end = inner or one
        sandbox, inner_sandbox = self.sandbox_of(one.look, path), self.sandbox_of(end.look, path)
        lost = inner is None and one.row.kind == "veth"
        if one.mark and one.row.group in marks.SCRATCH_GROUPS:
            self.inventory.misplaced.append(path)
        self.inventory.links[path] = Ends(sandbox, one.row.ifindex, inner_sandbox, 0 if lost else end.row.ifindex)
        self.paths[one.look.cookie, one.row.ifindex] = path
        self.paths[end.look.cookie, end.row.ifindex] = path

    def _link(self, one: _Own, inner: _Own | None, path: str, names: Mapping[tuple[int, int], str]) -> Link:
        look, row, mark = one
        veth = row.kind == "veth"
        end = inner or one
        return Link(
            path=path,
            kind=row.kind,
            sandbox=self.sandbox_of(look, path),
            name=row.name,
            mtu=row.mtu,
            mac=row.mac,
            up=row.up,
            master=self._reference(look.cookie, row.master, names) if row.master else None,
            parent=None if veth or not row.below else self._parent(look, row, names),
            options=kinds.decode(kinds.KINDS.get(row.kind, {}), row.data),
            port=kinds.decode(kinds.ENDPOINT_PORT if veth else kinds.PORT, row.port_data),
            peer=self._peer(inner, path) if inner else None,
            ipv6=row.ipv6,
            sysctls=end.look.sysctls.get(end.row.ifindex, {}),
            tags=mark.tags if mark else (),
        )

    def _peer(self, inner: _Own, path: str) -> Peer:
        row = inner.row
        return Peer(self.sandbox_of(inner.look, path), row.name, row.mtu, row.mac, row.up, row.ipv6)

    def _parent(self, look: Look, row: LinkRow, names: Mapping[tuple[int, int], str]) -> str | None:
        """Return the reference of the link that it stands on, None where that is neither in the host nor known."""
        if row.below_nsid is None:
            return self._reference(look.cookie, row.below, names)
        if row.below_nsid == look.host_nsid:
            return self._reference(self.looks.host.cookie, row.below, names)
        return None

    def _reference(self, cookie: int, index: int, names: Mapping[tuple[int, int], str]) -> str | None:
        if path := self.paths.get((cookie, index)):
            return path
        name = names.get((cookie, index))
        if name is None:
            return None
        return f"/{name}" if cookie == self.looks.host.cookie else f"/{self.symbols[cookie]}/{name}"

    # --- what is in our bridges

    def _ports(self, links: Iterable[Link]) -> Iterator[Port]:
        """Yield the links of others that are in our bridges because a manifest says so: the bridges' tags name them."""
        for link in links:
            for name, found_up in Port.tagged(link.tags):
                bridge, index = self.inventory.links[link.path].ifindex, self.inventory.foreign.get(name)
                row = next((row for row in self.looks.host.links if row.ifindex == index), None)
                if row and row.master == bridge:
                    path = link.path + UPLINK
                    self.found_up[name] = found_up
                    self.inventory.links[path] = Ends(HOST, row.ifindex, HOST, row.ifindex)
                    yield Port(path, name, link.path, row.up, found_up)

    def _vlans(self, links: Iterable[Link], ports: Iterable[Port]) -> Iterator[BridgeVlan]:
        """Yield the VLANs of bridges and ports whose tags say that they are netapply's."""
        ours = [link.path for link in links if VLANS in link.tags]
        for path in (*ours, *(port.path for port in ports if port.master in ours)):
            for row in self.looks.host.vlans.get(self.inventory.links[path].ifindex, ()):
                yield BridgeVlan(path, *row)

    # --- addresses and routes

    def _addresses(self) -> Iterator[Address]:
        for look in self.everywhere():
            for row in look.addresses:
                if row.protocol == ROUTE_PROTOCOL and (path := self.carrier(look, row.ifindex)):
                    yield Address(path, row.address)

    def carrier(self, look: Look, index: int) -> str | None:
        """Return the path of the link of ours of which this is the end that carries addresses."""
        path = self.paths.get((look.cookie, index))
        if path is None:
            return None
        ends = self.inventory.links[path]
        return path if ends.inner_ifindex == index and self.sandbox_of(look, path) == ends.inner_sandbox else None

    def _routes(self) -> Iterator[Route]:
        for look in self.everywhere():
            for row in look.routes:
                if row.protocol == ROUTE_PROTOCOL and (found := self.own_route(look, row)):
                    yield found

    def own_route(self, look: Look, row: RouteRow) -> Route | None:
        """Return a route as one of ours: by its link, or if it leads nowhere by what else of ours is there."""
        if row.metric in FENCES and look is self.looks.host:  # unicast: by a link of others, straight to another host
            own = row.metric == fence_metric(self.scope.project)
            return Route(HOST, row.destination, row.via, metric=row.metric, type=row.type) if own else None
        if row.type != "unicast":
            has_link = any((look.cookie, one.ifindex) in self.paths for one in look.links)
            if not look.containers and not self._made(look) and not has_link:
                return None
            sandbox = self.symbols[look.cookie]
            return Route(sandbox, row.destination, None, None, row.metric, row.type, self._is_shared(look))
        path = self.paths.get((look.cookie, row.link))
        if path is None:
            return None
        sandbox = self.sandbox_of(look, path)
        return Route(sandbox, row.destination, row.via, path, row.metric, onlink=row.onlink)

    def _is_shared(self, look: Look) -> bool:
        """Whether another project has something in a namespace, or made it."""
        found = (marks.mark(row.alias) for row in look.links)
        return any(one.project != self.scope.project for one in found if one)


def _name_of(look: Look) -> str | int:
    """Return what a namespace that no container is in is called by: its name if it has one that is no number."""
    kind, _, name = look.reference.partition(":")
    return name if kind == "netns" and not name.isdecimal() else look.cookie


def _leads_to_host(look: Look, row: LinkRow) -> bool:
    """Whether what a link stands on, or its other end, is in the host's namespace.

    In a sandbox of the scope a veth is believed to be so: its mark and both indexes will have to agree.
    """
    if row.below_nsid is None:
        return False
    return row.below_nsid == look.host_nsid or (look.host_nsid is None and row.kind == "veth" and bool(look.containers))
