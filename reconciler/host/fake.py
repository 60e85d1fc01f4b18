"""A host in memory for tests: strict as a kernel, deterministic, and open to whoever wants to look or to meddle.

Ours is told from foreign as on a real host, by marks: the alias of a link, the alias of a namespace's `lo`, a route's
protocol number, the name of a table. A test makes foreign objects with `host.kernel`, which knows nothing of marks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ..errors import LockHeld, OperationFailed
from ..plan import Change, Delete
from ..resources import NftTable, State, state, within
from . import Filter, Listener, Observation, Result, Rule, Scope, Told, Unwritten, fake_wireguard, listeners
from .fake_applying import Applying, listed
from .fake_kernel import Kernel
from .fake_links import Device, Space
from .fake_names import Files
from .fake_plugins import Plugins
from .fake_view import View


class FakeHost:
    """A host in memory; see `reconciler.host.Host` for the contract.

    `trap` is called ahead of every single operation with words for it, and may raise OSError, which then is what the
    kernel answers. A change can take several operations. Up to `batch` changes are made before the first one's result
    is known. `writes` counts the changes that were made. `locked`: somebody else holds the lock. `keys` are the public
    keys of the private ones in files. `listening` is who has ports of the host, other projects aside, `inside` who has
    those of containers.
    `resolved` are the containers with a resolver of Docker's, `unwritten` those that can't be told of one of ours.
    `files` are what files tell containers of names, "" for the host.
    """

    def __init__(self, trap: Callable[[str], None] | None = None, batch: int = 1) -> None:
        self.kernel = Kernel()
        self.kernel.host.devices["lo"].up = True
        self.kernel.before = lambda: self.trap(self._doing) if self.trap else None
        self.plugins = Plugins()
        self.names = Files()
        self.trap = trap
        self.batch = batch
        self.writes = 0
        self.locked = False
        self.nameservers: tuple[str, ...] = ()
        self.resolved: dict[str, str] = {}
        self.unwritten: dict[str, Unwritten] = {}
        self.files: dict[str, Told] = {}
        self.listening: list[Listener] = []
        self.inside: dict[str, list[Listener]] = {}
        self.keys: dict[str, str] = {}
        self._doing = ""
        self._applying = Applying(self.kernel, self.plugins, self.names)

    def observe(self, scope: Scope) -> Observation:
        self._applying.view = view = View(self.kernel, scope, self.plugins.cookies)
        found = [*view.resources(), *self.plugins.seen(view), *self.names.seen(view)]
        facts = view.facts(self.nameservers)
        facts = replace(facts, taken={**facts.taken, **self.names.taken(view)})
        if scope.publishes is not None:
            others = listeners.of_projects(scope.project, self.kernel.tables.values())
            facts = replace(facts, listening=(*self.listening, *others))
        if scope.named:
            usable = tuple(one for one in self.nameservers if not one.startswith(("127.", "::1", "fe80:")))
            facts = replace(facts, busy_ports=self.names.busy_ports(), upstreams=usable, resolved=self.resolved)
            facts = replace(facts, unwritten=self.unwritten)
        return Observation(state(found), facts)

    def addresses(self) -> frozenset[str]:
        links = self.kernel.host.devices.values()
        return frozenset(address.partition("/")[0] for link in links for address in link.addresses)

    def observe_near(self, scope: Scope, containers: Collection[str]) -> State:
        view = View(self.kernel, scope, self.plugins.cookies)
        return within(state([*view.resources(), *self.plugins.seen(view), *self.names.seen(view)]), containers)

    def lacking(self, kinds: Collection[str]) -> Collection[str]:
        return [kind for kind in kinds if kind in self.kernel.lacks]

    def filters(self, hooks: Collection[str] = ("input", "forward")) -> Sequence[Filter]:
        return [one for one in self.kernel.filters if one.hook in hooks]

    def listeners(self, containers: Collection[str]) -> Mapping[str, Mapping[str, Sequence[Listener]]]:
        known = [name for name in containers if name in self._applying.view.places]
        here = {name: self.inside.get(name, []) if name else self.listening for name in known}
        return {
            name: {protocol: [one for one in some if one.protocol == protocol] for protocol in ("tcp", "udp")}
            for name, some in here.items()
        }

    def told(self, containers: Collection[str]) -> Mapping[str, Told]:
        return {name: self.files[name] for name in containers if name in self.files}

    def rules(self) -> Sequence[Rule]:
        return self.kernel.rules

    def make_key(self, path: str) -> bool:
        return fake_wireguard.make_key(self.keys, path)

    def public_key(self, path: str) -> str:
        return fake_wireguard.public_key(self.keys, path)

    def canonical(self, desired: State) -> State:
        """Return the desired state with nft texts as this host lists them."""
        return {
            key: replace(one, text=listed(one.text)) if isinstance(one, NftTable) else one
            for key, one in desired.items()
        }

    def apply(self, changes: Sequence[Change]) -> Iterator[Result]:
        self._applying.begin(self.keys)
        batch: list[Change] = []
        for change in changes:
            wanted = change.before if isinstance(change, Delete) else change.after
            if len(batch) == self.batch or not {one.key for one in batch}.isdisjoint(wanted.requires):
                yield from [self._attempt(one) for one in batch]
                batch = []
            batch.append(change)
        yield from [self._attempt(one) for one in batch]

    @contextmanager
    def lock(self, timeout: float) -> Iterator[None]:
        if self.locked:
            raise LockHeld("another run holds the lock; wait for it, or use a longer --lock-timeout")
        self.locked = True
        try:
            yield
        finally:
            self.locked = False

    def release(self) -> None:
        self._applying.release()

    def snapshot(self) -> Mapping[str, object]:
        """Return everything there is, foreign or not, as values that can be compared."""
        named = {"": self.kernel.host, **{f"netns:{name}": space for name, space in self.kernel.names.items()}}
        named |= {f"pid:{number}": space for number, space in self.kernel.pids.items()}
        labels = {space.cookie: label for label, space in reversed(named.items())}
        held = {f"held:{name}": _contents(space, labels) for name, space in self._applying.held.items()}
        return {
            **{label: _contents(space, labels) for label, space in named.items()},
            **held,
            "plugins": self.plugins.snapshot(labels),
            "names": self.names.snapshot(),
            "sysctls": dict(self.kernel.sysctls),
            "tables": dict(self.kernel.tables),
            "tables in sandboxes": {
                label: dict(space.tables)
                for label, space in named.items()
                if space.tables and space is not self.kernel.host
            },
            "docker": {family: dict(rules) for family, rules in self.kernel.docker.items()},
        }

    def _attempt(self, change: Change) -> Result:
        self._doing = f"{type(change).__name__.lower()} {change.key}"
        try:
            self._applying.make(change)
        except OSError as refusal:
            return Result(change, OperationFailed(f"{self._doing}: {refusal.strerror}", refusal.errno or 0))
        self.writes += 1
        return Result(change)


def _contents(space: Space, labels: Mapping[int, str]) -> object:
    """Return what is in a namespace, as values."""

    def name(device: Device | None) -> tuple[str, str] | None:
        return None if device is None else (labels.get(device.space.cookie, "unreachable"), device.name)

    links = {
        one.name: (
            *(one.kind, one.mtu, one.mac, one.up, name(one.master), name(one.parent), name(one.peer)),
            *(dict(one.options), dict(one.port), dict(one.vlans), one.ipv6, dict(one.addresses), dict(one.sysctls)),
            *(dict(one.fdb), set(one.static), dict(one.neighbours)),
            *(one.public_key, one.port_number, dict(one.peers)),
            *(one.queue, one.foreign_queue, one.filtered, name(one.redirected)),
            *(one.group, one.alias, one.tags),
        )
        for one in space.devices.values()
    }
    routes = {key: (hop.via, name(hop.device), hop.type, hop.protocol) for key, hop in space.routes.items()}
    return links, routes
