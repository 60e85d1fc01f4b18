"""What plugins keep on a host in memory: as on a real one by records, each of the namespace that it was made in."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from ..resources import HOST, Delegated
from ..values import dataclass, field
from .fake_links import Space, refuse
from .fake_view import View


@dataclass(slots=True)
class Plugins:
    """All that plugins keep, with the cookies of namespaces. `broken` are the paths of which they say that it is."""

    kept: dict[tuple[str, str], tuple[Delegated, int]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    @property
    def cookies(self) -> Mapping[tuple[str, str], int]:
        return {key: cookie for key, (_, cookie) in self.kept.items()}

    def seen(self, view: View) -> Iterator[Delegated]:
        """Yield what plugins keep for the project of a view."""
        symbols = {space.cookie: symbol for symbol, space in sorted(view.places.items(), reverse=True)}
        for (project, path), (one, cookie) in self.kept.items():
            if project == view.project:
                at_home = view.places.get(one.sandbox)
                symbol = one.sandbox if at_home and at_home.cookie == cookie else symbols.get(cookie)
                trouble = "" if symbol is not None else "its namespace is gone"
                trouble = trouble or ("its plugin says: no" if path in self.broken else "")
                sandbox = one.sandbox if symbol is None else symbol
                yield replace(one, sandbox=sandbox, healthy=not trouble, trouble=trouble)

    def create(self, view: View, one: Delegated, before: Callable[[], None]) -> None:
        before()
        key, space = (view.project, one.path), _place(view, one.sandbox)
        if key in self.kept or (one.interface and one.interface in self._names(space)):
            raise refuse(errno.EEXIST)
        if not all((view.project, path) in self.kept for path in one.after):
            raise refuse(errno.ENOENT)
        container = one.path.rpartition("/")[0]  # another manifest may know its namespace by no container
        self.kept[key] = (replace(one, sandbox=container, healthy=True, trouble=""), space.cookie)
        self.broken.discard(one.path)

    def update(self, view: View, one: Delegated, before: Callable[[], None]) -> None:
        before()
        there, cookie = self._known(view, one)
        self.kept[view.project, one.path] = (replace(there, tags=one.tags), cookie)

    def delete(self, view: View, one: Delegated, before: Callable[[], None]) -> None:
        before()
        self._known(view, one)
        if any(one.path in other.after for (project, _), (other, _) in self.kept.items() if project == view.project):
            raise refuse(errno.EBUSY)
        del self.kept[view.project, one.path]
        self.broken.discard(one.path)

    def snapshot(self, labels: Mapping[int, str]) -> object:
        """Return it all as values that can be compared."""
        return {key: (one, labels.get(cookie, "gone")) for key, (one, cookie) in self.kept.items()}

    def _names(self, space: Space) -> set[str]:
        return {*space.devices, *(one.interface for one, cookie in self.kept.values() if cookie == space.cookie)}

    def _known(self, view: View, one: Delegated) -> tuple[Delegated, int]:
        if (view.project, one.path) not in self.kept:
            raise refuse(errno.ENOENT)
        return self.kept[view.project, one.path]


def _place(view: View, sandbox: str) -> Space:
    if sandbox not in view.places:
        raise refuse(errno.ENOENT)
    return view.places[sandbox or HOST]
