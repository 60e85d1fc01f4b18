"""What a host in memory keeps of names: files with names, resolvers with theirs, and containers' resolv.conf."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..resources import DnsHosts, DnsServer, Key, ResolvConf
from .fake_links import refuse
from .fake_view import View

Names = DnsHosts | DnsServer | ResolvConf


class File(NamedTuple):
    """A resolv.conf: whose it is by its first line ("" for a stranger's), and the rest of its lines."""

    project: str
    container: str
    lines: tuple[str, ...]


@dataclass(slots=True)
class Files:
    """All that there is. `hosts` and `servers` are by project and name, `files` by the namespace's name.

    `running` are those of `servers` that run, each with the addresses and the port that it listens on.
    """

    hosts: dict[tuple[str, str], DnsHosts] = field(default_factory=dict)
    servers: dict[tuple[str, str], DnsServer] = field(default_factory=dict)
    running: dict[tuple[str, str], frozenset[tuple[str, int]]] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    foreign_ports: set[int] = field(default_factory=set)

    def seen(self, view: View) -> Iterator[Names]:
        """Yield what there is of a project."""
        for (project, _), names in self.hosts.items():
            if project == view.project:
                yield names
        for (project, name), server in self.servers.items():
            if project == view.project:
                runs = (project, name) in self.running
                yield replace(server, healthy=runs, trouble="" if runs else "it does not run", pid=None)
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
        return frozenset({*self.foreign_ports, *(port for some in self.running.values() for _, port in some)})

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
        self.servers[key] = replace(one, healthy=True, trouble="", pid=None)
        before()
        sockets = frozenset((address, one.port) for address in one.listen)
        if refusal := self._refusal(view, sockets):
            if new:
                del self.servers[key]
            raise refuse(refusal)
        self.running[key] = sockets

    def _refusal(self, view: View, sockets: frozenset[tuple[str, int]]) -> int:
        own = {one.partition("/")[0] for link in view.places[""].devices.values() for one in link.addresses}
        if not {address for address, _ in sockets} <= own:
            return errno.EADDRNOTAVAIL
        if any(sockets & others for others in self.running.values()):
            return errno.EADDRINUSE
        return errno.EADDRINUSE if self.foreign_ports & {port for _, port in sockets} else 0

    def _expect(self, there: bool, wanted: bool) -> None:
        if there is not wanted:
            raise refuse(errno.ENOENT if wanted else errno.EEXIST)


def _netns(one: ResolvConf) -> str:
    return one.reference.removeprefix("netns:")
