"""Where containers are on a host in memory: in which namespaces, as the manifest says and as marks tell."""

from __future__ import annotations

from collections.abc import Mapping

from ..networks import SandboxRef
from ..resources import ALIAS, HOST
from . import Scope
from .fake_kernel import Kernel
from .fake_links import Space


class Sandboxes:
    """The namespaces that matter to a project, by symbol, the host's first: `places`.

    `pending` says why a container has none, `unsure` why it is known by its endpoints alone; `in_host` are those in the
    host's own. `delegated` are the cookies of the namespaces in which plugins keep what they made, by project and path.
    """

    def __init__(self, kernel: Kernel, scope: Scope, delegated: Mapping[tuple[str, str], int]) -> None:
        self._kernel = kernel
        self._scope = scope
        self._delegated = delegated
        self.places: dict[str, Space] = {HOST: kernel.host}
        self.pending: dict[str, str] = {}
        self.unsure: dict[str, str] = {}
        self.in_host: set[str] = set()
        self._resolve()

    def _resolve(self) -> None:
        """Find the namespaces that matter, by symbol, who is pending and why, and who is in the host's own."""
        for container, reference in self._scope.sandboxes.items():
            space = self._find(reference)
            if space is self._kernel.host:
                self.in_host.add(container)
            elif space:
                self.places[container] = space
            elif not reference.create:
                self.pending[container] = f"there is no {reference}"
        self._find_attached()
        known = {space.cookie for space in self.places.values()}
        names = {space.cookie: name for name, space in self._kernel.names.items() if not name.isdecimal()}
        for space in self._kernel.spaces():
            project, _, container = (space.devices["lo"].alias or "").removeprefix(ALIAS).partition("/")
            if space.cookie in known:
                continue
            free = container not in self._scope.sandboxes and container not in self.places
            ours = project == self._scope.project and free
            self.places[container if ours else f"@{names.get(space.cookie, space.cookie)}"] = space

    def _find_attached(self) -> None:
        """Know containers that a runtime knows, but not to run, by their endpoints."""
        for name in [*self.pending]:
            reference = self._scope.sandboxes[name]
            if not reference.is_anothers or str(reference) not in self._kernel.runtimes:
                continue
            marks = {f"{ALIAS}{self._scope.project}/{name}/"}
            found = {
                space.cookie: space
                for space in self._kernel.pids.values()
                for device in (*space.devices.values(), *(one.peer for one in space.devices.values() if one.peer))
                if (device.alias or "").rpartition("/")[0] + "/" in marks
            }
            kept = {
                cookie
                for (project, path), cookie in self._delegated.items()
                if (project, path.rpartition("/")[0]) == (self._scope.project, name)
            }
            found |= {space.cookie: space for space in self._kernel.pids.values() if space.cookie in kept}
            if len(found) == 1:
                (self.places[name],) = found.values()
                self.unsure[name] = self.pending.pop(name)

    def together(self) -> dict[str, tuple[str, ...]]:
        """Return the containers that share a namespace, for each of them."""
        members: dict[int, list[str]] = {}
        for name in sorted(self._scope.sandboxes):
            if space := self.places.get(name):
                members.setdefault(space.cookie, []).append(name)
        return {name: tuple(names) for names in members.values() if len(names) > 1 for name in names}

    def _find(self, reference: SandboxRef) -> Space | None:
        match reference.kind:
            case "netns":
                return self._kernel.names.get(reference.value)
            case "pid":
                return self._kernel.pids.get(int(reference.value))
            case "host":
                return self._kernel.host
            case _:
                return self._kernel.pids.get(self._kernel.runtimes.get(str(reference), 0))
