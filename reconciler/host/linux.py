"""The Linux kernel as a host (see `reconciler.host.Host`)."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace

from ..errors import HostLacks
from ..firewall import FAMILY, table_name
from ..plan import Change
from ..resources import (
    DOCKER,
    GUARD_TABLE,
    NFT,
    Accepts,
    Delegated,
    DnsServer,
    Key,
    Link,
    NftTable,
    Resource,
    State,
    state,
    within,
)
from ..sandboxes import Finder
from . import (
    Filter,
    Listener,
    Observation,
    Result,
    Rule,
    Scope,
    Told,
    ahead,
    applying,
    delegates,
    dns,
    facts,
    looking,
    namespaces,
    nft,
    rtnetlink,
)
from .locking import locked
from .namespaces import Place, Trap
from .netlink import Socket
from .observing import Inventory, View
from .sandboxes import Sandboxes
from .steps import Runner


class LinuxHost:
    """The host that this process runs on: its network namespace is the one that the process is in when it is made.

    `trap` is for tests: it is called before every single effect, with words for it, and may raise OSError, which is
    then taken for the kernel's answer. Threads must not share one.
    """

    def __init__(self, trap: Trap | None = None) -> None:
        self._trap = trap
        self._opened: tuple[int, Socket, Sandboxes] | None = None
        self._inventory: Inventory | None = None
        self._finder = Finder()
        self._unsure: frozenset[str] = frozenset()
        self._kinds: dict[str, bool] = {}
        self._keys: dict[str, bytes] = {}

    def observe(self, scope: Scope) -> Observation:
        """See `reconciler.host.Host.observe`."""
        home, door, sandboxes = self._open()
        finder, kept_open = self._finder, sandboxes.kept
        with ahead.half(home, scope.sandboxes) as half:
            looks = namespaces.in_a_thread(lambda: looking.look_around(home, door, scope, finder, kept_open, half))
        view = View(looks, scope)
        self._unsure = frozenset(view.unsure)
        texts = _tables(scope.project)
        found: list[Resource] = [*view.resources(), *facts.settings(view), *facts.tables_of(scope.project, texts)]
        self._inventory = sandboxes.inventory = view.inventory
        more: Mapping[Key, str] = {}
        if any(row.kind == "vxlan" for look in view.everywhere() for row in look.links):
            from . import neighbours

            ways = neighbours.seen(door, view)
            found, more = [*found, *ways.resources], ways.taken
        if any(row.kind == "wireguard" for row in looks.host.links):
            from . import wireguard

            ends = wireguard.seen(view)
            found, more = [*found, *ends.resources], {**more, **ends.taken}
        if looks.host.queues:
            from . import shaping

            links = [one for one in found if isinstance(one, Link)]
            more = {**more, **dict(shaping.taken(looks.host.queues, links, view.inventory))}
        if marked := [one for one in found if isinstance(one, Link) and NFT in one.tags]:
            from . import tables

            inside = tables.seen(home, view, marked)
            found, more = [*found, *inside.tables], {**more, **inside.taken}
        table = texts.get(table_name(scope.project), "")
        if looks.resolvers or dns.present(looks.host.cookie, scope.project, table):
            from .dns import observing as names

            of_names = names.seen(view, table)
            found, more = [*found, *of_names.resources], {**more, **of_names.taken}
        known = facts.facts(view, texts, more)
        if scope.publishes is not None:
            from . import listeners, translations

            held = listeners.listening(scope.project, scope.publishes)
            led = translations.leading(scope.publishes, known)
            known = replace(known, listening=held + led.ports, led=led.maybe, ephemeral=listeners.ephemeral())
        if scope.named:
            from .dns import mounted
            from .dns.observing import busy_ports

            able, unwritten = mounted.whose(view)
            known = replace(known, busy_ports=busy_ports(), resolv_confs=able, unwritten=unwritten)
            if scope.alone:
                from .dns import within as sandboxed

                dockers = frozenset(name for name, one in unwritten.items() if one.why == "docker")
                met = namespaces.in_a_thread(lambda: sandboxed.met(home, view, dockers))
                known = replace(known, resolved=met.resolved, taken={**known.taken, **met.taken})
                known = replace(known, upstreams=sandboxed.upstreams())
        if delegates.recorded(view.looks.host.cookie, scope.project):
            from .delegates.observing import kept

            of_plugins = kept(view)
            found = [*found, *of_plugins.resources]
            strangers = {key: what for key, what in known.taken.items() if key not in of_plugins.interfaces}
            known = replace(known, taken=strangers)
        if scope.docker or any(isinstance(one, Link) and DOCKER in one.tags for one in found):
            from . import coexistence

            accepted = coexistence.docker(scope.project)
            found += [Accepts(family, rules) for family, rules in accepted.items() if rules]
            known = replace(known, docker=frozenset(accepted))
        return Observation(state(found), known)

    def addresses(self) -> frozenset[str]:
        """See `reconciler.host.Host.addresses`."""
        _, door, _ = self._open()
        rows = map(rtnetlink.address_row, door.dump(rtnetlink.GETADDR, rtnetlink.all_addresses()))
        return frozenset(row.address.partition("/")[0] for row in rows)

    def observe_near(self, scope: Scope, containers: Collection[str]) -> State:
        """See `reconciler.host.Host.observe_near`."""
        home, door, _ = self._open()
        if not self._unsure.isdisjoint(containers):  # they can only be found by looking everywhere
            return within(self.observe(scope).state, containers)
        near = Scope(scope.project, {name: scope.sandboxes[name] for name in containers})
        looks = namespaces.in_a_thread(lambda: looking.look_near(home, door, near.sandboxes, self._finder))
        view = View(looks, near)
        found: list[Resource] = [*view.resources()]
        if marked := [one for one in found if isinstance(one, Link) and NFT in one.tags]:
            from . import tables

            found += tables.seen(home, view, marked).tables
        if dns.present(view.looks.host.cookie, scope.project, ""):
            from .dns import mounted
            from .dns.observing import resolv_confs, servers

            found += [*resolv_confs(view, containers=containers), *mounted.seen(view), *servers(view, inside=True)]
        if delegates.recorded(view.looks.host.cookie, scope.project):
            from .delegates.observing import kept

            found += kept(view, containers).resources
        return within(state(found), containers)

    def lacking(self, kinds: Collection[str]) -> Collection[str]:
        """See `reconciler.host.Host.lacking`."""
        if untried := [kind for kind in kinds if kind not in self._kinds]:
            from . import probing

            refused = probing.lacking(untried)
            self._kinds |= {kind: kind not in refused for kind in untried}
        return [kind for kind in kinds if not self._kinds[kind]]

    def filters(self, hooks: Collection[str] = ("input", "forward")) -> Sequence[Filter]:
        """See `reconciler.host.Host.filters`."""
        from . import coexistence

        return coexistence.filters(hooks)

    def listeners(self, containers: Collection[str]) -> Mapping[str, Mapping[str, Sequence[Listener]]]:
        """See `reconciler.host.Host.listeners`."""
        from . import listeners

        home, _, _ = self._open()
        places = self._places(containers)
        return namespaces.in_a_thread(lambda: listeners.within(home, places))

    def told(self, containers: Collection[str]) -> Mapping[str, Told]:
        """See `reconciler.host.Host.told`."""
        from .dns.told import told

        return told(self._places(containers))

    def _places(self, containers: Collection[str]) -> dict[str, Place | None]:
        """Return where those containers are that have a namespace; None is the host's."""
        there = self._inventory.places if self._inventory else {}
        return {name: there.get(name) for name in containers if not name or name in there}

    def rules(self) -> Sequence[Rule]:
        """See `reconciler.host.Host.rules`."""
        from .rules import rules

        return rules(self._open()[1])

    def make_key(self, path: str) -> bool:
        """See `reconciler.host.Host.make_key`."""
        from . import keyfiles

        return keyfiles.create(path)

    def public_key(self, path: str) -> str:
        """See `reconciler.host.Host.public_key`."""
        from . import keyfiles

        return keyfiles.public_key(path)

    def canonical(self, desired: State) -> State:
        """See `reconciler.host.Host.canonical`."""
        result: dict[Key, Resource] = {}
        texts: dict[str, str] = {}  # those of sandboxes are alike
        for key, resource in desired.items():
            if isinstance(resource, NftTable):
                text = texts.get(resource.text) or texts.setdefault(resource.text, nft.canonical(resource.text))
                resource = replace(resource, text=text)  # noqa: PLW2901
            elif isinstance(resource, Delegated):
                from .delegates.jobs import speaker

                resource = speaker(resource.protocol).ready(resource)  # noqa: PLW2901
            elif isinstance(resource, DnsServer):
                from .dns import processes

                processes.program()
            result[key] = resource
        return result

    def apply(self, changes: Sequence[Change]) -> Iterator[Result]:
        """See `reconciler.host.Host.apply`. Acts on what the last `observe` saw, which must have been before."""
        if self._inventory is None:
            raise ValueError("a host is observed before it is changed")
        home, door, sandboxes = self._open()
        namespaces.raise_descriptor_limit()
        runner = Runner(home, door, self._inventory.places, sandboxes.doors, self._trap)
        runner.keys = self._keys
        yield from applying.apply(changes, self._inventory, sandboxes, runner, 1 if self._trap else applying.MOST)

    def lock(self, timeout: float) -> AbstractContextManager[None]:
        """See `reconciler.host.Host.lock`."""
        return locked(self._open()[1].cookie, timeout)

    def release(self) -> None:
        """See `reconciler.host.Host.release`."""
        self._keys.clear()
        if self._opened:
            self._opened[2].release()

    def close(self) -> None:
        """Let go of all descriptors."""
        self.release()
        if self._opened:
            os.close(self._opened[0])
            self._opened[1].close()
            self._opened = None

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()

    def _open(self) -> tuple[int, Socket, Sandboxes]:
        """Return a descriptor of the host's namespace, a socket in it, and the sandboxes; opened at the first use."""
        if self._opened is None:
            try:
                home = namespaces.current()
                self._opened = (home, Socket(), Sandboxes(home, self._trap or (lambda what: None)))
            except OSError as failure:
                raise namespaces.refuse(failure, "the host's network namespace") from failure
        return self._opened


def _tables(project: str) -> dict[str, str]:
    """Return the texts of the nft tables whose names are netapply's to give. None where the host has no nftables."""
    found: dict[str, str] = {}
    for name in (table_name(project), GUARD_TABLE):
        with suppress(HostLacks):
            if (text := nft.read(FAMILY, name)) is not None:
                found[name] = text
    return found
