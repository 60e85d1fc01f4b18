"""What a host in memory keeps of names: files with names, resolvers with theirs, and containers' resolv.conf."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from ..resources import DnsHosts, DnsServer, Key, ResolvConf
from ..values import dataclass, field
from .fake_links import refuse
from .fake_view import View

Names = DnsHosts | DnsServer | ResolvConf


class File(NamedTuple):
    """A resolv.conf: whose it is by its first line ("" for a stranger's), and the rest of its lines."""

    project: str
    container: str
    lines: tuple[str, ...]


class Listening(NamedTuple):
    """A socket of a resolver's: the namespace that it is in, by cookie, the address and the port."""

    cookie: int
    address: str
    port: int


@dataclass(slots=True)
class Files:
    """All that there is. `hosts` and `servers` are by project and name, `files` by the namespace's name.

    `running` are those of `servers` that run, each with the addresses and the port that it listens on, and the cookie
    of the namespace that it is in. One whose namespace is gone has gone with it: in memory no process keeps one.
    """

    hosts: dict[tuple[str, str], DnsHosts] = field(default_factory=dict)
    servers: dict[tuple[str, str], DnsServer] = field(default_factory=dict)
    running: dict[tuple[str, str], frozenset[Listening]] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    foreign_ports: set[int] = field(default_factory=set)

    def seen(self, view: View) -> Iterator[Names]:
        """Yield what there is of a project."""
        for (project, _), names in self.hosts.items():
            if project == view.project:
                yield names
        for (project, name), server in self.servers.items():
            if project == view.project:
                cookie = self._runs_in((project, name))
                places = (server.sandbox, *view.places) if cookie is not None else ()
                symbol = next((one for one in places if view.cookie(one) == cookie), None)
                trouble = "" if symbol is not None else "it does not run"
                where = server.sandbox if symbol is None else symbol
                yield replace(server, sandbox=where, healthy=not trouble, trouble=trouble, pid=None)
        for netns, file in self.files.items():
            if file.project == view.project:
                yield ResolvConf(file.container, f"netns:{netns}", file.lines)

    def taken(self, view: View) -> Mapping[Key, str]:
        """Return the files of others that are where a container's should be."""
        return {
            Key("resolvconf", container): "somebody else made it"
            for container, reference in view.sandboxes.items()
            if reference.kind == "netns" and (file := self.files.get(reference.value)) and file.project != view.project
        }

    def busy_ports(self) -> frozenset[int]:
        listening = (one for key, some in self.running.items() for one in some if not self.servers[key].sandbox)
        return frozenset({*self.foreign_ports, *(one.port for one in listening)})

    def lives_in(self, cookie: int) -> bool:
        """Whether a resolver runs in a namespace."""
        return any(self._runs_in(key) == cookie for key in self.running)

    def _runs_in(self, key: tuple[str, str]) -> int | None:
        return next((one.cookie for one in self.running.get(key, ())), None)

    def create(self, view: View, one: Names, before: Callable[[], None]) -> None:
        match one:
            case DnsHosts():
                self._expect((view.project, one.network) in self.hosts, False)
                before()
                self.hosts[view.project, one.network] = one
            case DnsServer():
                self._expect((view.project, one.name) in self.servers, False)
                self._start(view, one, before, new=True)
            case ResolvConf():
                self._expect(_netns(one) in self.files, False)
                before()
                self.files[_netns(one)] = File(view.project, one.sandbox, one.lines)

    def update(self, view: View, one: Names, before: Callable[[], None]) -> None:
        match one:
            case DnsHosts():
                key = (view.project, one.network)
                self._expect(key in self.hosts, True)
                before()
                self.hosts[key] = replace(self.hosts[key], healthy=False)
                before()
                self.hosts[key] = replace(one, healthy=False)
                before()
                self.hosts[key] = one
            case DnsServer():
                self._expect((view.project, one.name) in self.servers, True)
                self._start(view, one, before, new=False)
            case ResolvConf():
                self._expect(_netns(one) in self.files, True)
                before()
                self.files[_netns(one)] = File(view.project, one.sandbox, one.lines)

    def delete(self, view: View, one: Names, before: Callable[[], None]) -> None:
        match one:
            case DnsHosts():
                self._expect((view.project, one.network) in self.hosts, True)
                before()
                del self.hosts[view.project, one.network]
            case DnsServer():
                before()
                self.running.pop((view.project, one.name), None)
                before()
                self.servers.pop((view.project, one.name), None)
            case ResolvConf():
                before()
                self._expect(_netns(one) in self.files, True)
                del self.files[_netns(one)]

    def snapshot(self) -> object:
        """Return it all as values that can be compared."""
        servers = {key: replace(one, pid=None) for key, one in self.servers.items()}
        return dict(self.hosts), servers, dict(self.running), dict(self.files)

    def _start(self, view: View, one: DnsServer, before: Callable[[], None], *, new: bool) -> None:
        key = (view.project, one.name)
        before()
        self.running.pop(key, None)
        before()
        meant = one.name.removeprefix(DnsServer.INSIDE) if one.sandbox else ""  # as its file says
        self.servers[key] = replace(one, sandbox=meant, healthy=True, trouble="", pid=None)
        before()
        cookie = view.cookie(one.sandbox)
        sockets = frozenset(Listening(cookie or 0, address, one.port) for address in one.listen)
        if refusal := self._refusal(view, one.sandbox, sockets):
            if new:
                del self.servers[key]
            raise refuse(refusal)
        self.running[key] = sockets

    def _refusal(self, view: View, sandbox: str, sockets: frozenset[Listening]) -> int:
        place = view.places.get(sandbox)
        if place is None:
            return errno.ENOENT
        own = {one.partition("/")[0] for link in place.devices.values() for one in link.addresses}
        if place.devices["lo"].up or not own:  # all of 127/8 is there then; and where no address is, any can be bound
            own.add(DnsServer.OWN)
        if not {one.address for one in sockets} <= own:
            return errno.EADDRNOTAVAIL
        if any(sockets & others for others in self.running.values()):
            return errno.EADDRINUSE
        return errno.EADDRINUSE if not sandbox and self.foreign_ports & {one.port for one in sockets} else 0

    def _expect(self, there: bool, wanted: bool) -> None:
        if there is not wanted:
            raise refuse(errno.ENOENT if wanted else errno.EEXIST)


def _netns(one: ResolvConf) -> str:
    return one.reference.removeprefix("netns:")
