"""The project's nft tables in sandboxes: where they are, what is in them, and writing many of them at once.

A table is looked for where a link of the project's has the tag NFT, so that a sandbox without costs nothing. What was
listed there is remembered under /run/netapply by the namespace's cookie and the ruleset's generation: what costs
milliseconds to list costs microseconds to know of again. Losing the file costs time and changes no result.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any, NamedTuple, TypeGuard, TypeVar

from ..errors import NetapplyError, OperationFailed
from ..firewall import FAMILY, owner_of, table_name
from ..firewall.services import spreads
from ..plan import Change, Create, Delete
from ..resources import NFT, Key, Link, NftTable
from . import marks, namespaces, nft, nft_wire
from .looking import Look
from .namespaces import Place, refuse
from .nft_wire import INET, Batch, NftSocket
from .observing import View
from .steps import Runner

T = TypeVar("T")
R = TypeVar("R")

CACHE = "/run/netapply/nft-sandboxes.json"

THREADS = 16
"""How many namespaces are written at once: after each transaction the kernel waits for all its processors (RCU)."""

_REMEMBERED = 20_000
"""How many tables are remembered, the latest ones."""

_GONE = (errno.ENOENT, errno.ESRCH, errno.ESTALE)
"""What a namespace answers that was there a moment ago: its process has ended, or another one has its name."""

_NOBODYS = "a table that netapply did not make"


class Seen(NamedTuple):
    """The tables of the project in sandboxes, and what stands where one would be, in words."""

    tables: list[NftTable]
    taken: dict[Key, str]


def seen(home: int, view: View, links: Iterable[Link]) -> Seen:
    """Look into the sandboxes where a mark says that there may be a table. Raises NotPermitted, OperationFailed.

    `links` are the project's: a killed run may have marked one end of a pair alone.
    """
    project, marked = view.scope.project, {one.inner[0] for one in links if NFT in one.tags}
    places = {
        view.symbols[look.cookie]: look.place
        for look in view.looks.others
        if _is_marked(look, view) or not marked.isdisjoint(look.containers or (view.symbols[look.cookie],))
    }
    if not places:
        return Seen([], {})
    name, found = table_name(project), Seen([], {})
    owners: dict[str, str | None] = {}  # most texts are the same one
    for sandbox, text in _texts(home, places, name):
        if text not in owners:
            owners[text] = owner_of(text)
        table = NftTable(FAMILY, name, text, sandbox)
        if owners[text] == project:
            found.tables.append(table)
        else:
            found.taken[table.key] = _NOBODYS
    return found


def _is_marked(look: Look, view: View) -> bool:
    """Whether a link of the project's says so: one that the view knows, since namespaces may be hosts of their own."""
    return any(
        (look.cookie, row.ifindex) in view.paths and (found := marks.mark(row.alias)) and NFT in found.tags
        for row in look.links
        if row.alias
    )


def _texts(home: int, places: Mapping[str, Place], name: str) -> list[tuple[str, str]]:
    """Return the texts of the tables of a name by sandbox, as nft lists them, where there are any."""
    memory = Memory.load()
    unknown: list[str] = []

    def look() -> list[tuple[str, str]]:
        known: list[tuple[str, str]] = []
        with namespaces.back_to(home):
            for sandbox, place in places.items():
                try:
                    text = memory.text(place.cookie, name, _generation(place))
                except OperationFailed as failure:
                    if failure.errno not in _GONE:
                        raise
                    continue
                if text is None:
                    unknown.append(sandbox)
                elif text:
                    known.append((sandbox, text))
        return known

    texts = namespaces.in_a_thread(look)
    if unknown:

        def listed(sandbox: str) -> tuple[str, str]:
            return sandbox, _listed(home, places[sandbox], name, memory)

        found = namespaces.in_a_thread(lambda: _side_by_side(listed, unknown))
        texts += [one for one in found if one[1]]
        memory.save()
    return sorted(texts)


def _generation(place: Place) -> int:
    """Enter a namespace, stay there, and return the number of its ruleset."""
    with namespaces.opened(place) as descriptor:
        try:
            namespaces.setns(descriptor)
        except OSError as failure:
            raise refuse(failure, f"namespace {place.path}") from failure
    with NftSocket() as door:
        return door.generation()


def _listed(home: int, place: Place, name: str, memory: Memory) -> str:
    """List a table and remember it, unless somebody edits meanwhile; "" where there is none."""
    try:
        with namespaces.entered(place, home), NftSocket() as door:
            before = door.generation()
            text = (nft.listing(FAMILY, name) or "") if door.has_table(INET, name) else ""
            if door.generation() == before:
                memory.keep(place.cookie, name, before, text)
    except OperationFailed as failure:
        if failure.errno not in _GONE:
            raise
        return ""
    return text


# --- writing


class _Recorded(NamedTuple):
    """How a text gets into a namespace that has no such table, and one that has; and how nft lists it then."""

    made: Batch
    replaced: Batch
    listed: str


def make(batch: Sequence[Change], runner: Runner) -> list[NetapplyError | None]:
    """Write or remove tables in sandboxes, one transaction in each, several at a time."""
    memory = Memory.load()
    texts = {change.after.text for change in batch if not isinstance(change, Delete) and _is_table(change.after)}
    try:
        recorded = {text: nft.in_scratch_namespace(partial(_recorded, text)) for text in sorted(texts)}
    except NetapplyError as error:
        return [error] * len(batch)

    def one(change: Change) -> NetapplyError | None:
        resource = change.before if isinstance(change, Delete) else change.after
        if not _is_table(resource):
            raise TypeError(f"{change} is not about a table")
        try:
            if isinstance(change, Delete):
                _delete(resource, runner, memory)
            else:
                _write(resource, isinstance(change, Create), recorded[resource.text], runner, memory)
            if not isinstance(change, Create) and _is_table(change.before):
                _forget(change.before, "" if isinstance(change, Delete) else resource.text, runner)
        except OSError as refused:
            return refuse(refused, str(resource.key))
        except NetapplyError as error:
            return error
        return None

    outcomes = _side_by_side(one, batch)
    memory.save()
    return outcomes


def _is_table(resource: object) -> TypeGuard[NftTable]:
    return isinstance(resource, NftTable)


def _recorded(text: str) -> _Recorded:
    """Load a table in the current namespace, which has none, and return how it is copied to others."""
    family, name = text.split(None, 3)[1:3]
    nft.run(text)
    messages = nft_wire.recorded(INET, name)
    fresh = [nft_wire.making(name), nft_wire.removal(name), *messages]
    listed = nft.run(f"list table {family} {name}")
    return _Recorded(nft_wire.batch(INET, messages), nft_wire.batch(INET, fresh), listed)


def _write(table: NftTable, new: bool, way: _Recorded, runner: Runner, memory: Memory) -> None:
    """Put a table into its sandbox, in place of one of its name that is netapply's. Raises OSError, NetapplyError."""
    with runner.inside(table.sandbox) as door, NftSocket() as tables:
        runner.trap(f"write nft table {table.name} in {table.sandbox}")
        before = tables.generation()
        there = tables.has_table(INET, table.name)
        if there and new and owner_of(nft.listing(FAMILY, table.name) or "") is None:
            raise OperationFailed(f"nft table {table.name} in {table.sandbox}: {_NOBODYS} (EEXIST)", errno.EEXIST)
        if not there and not new:
            raise OperationFailed(f"nft table {table.name} in {table.sandbox} is not there (ENOENT)", errno.ENOENT)
        tables.transact(way.replaced if there else way.made)
        if tables.generation() == before + 1:  # nobody else had a part in it: the kernel has what was asked for
            memory.keep(door.cookie, table.name, before + 1, way.listed)


def _delete(table: NftTable, runner: Runner, memory: Memory) -> None:
    """Remove a table from its sandbox. Raises OSError, NetapplyError."""
    with runner.inside(table.sandbox) as door, NftSocket() as tables:
        runner.trap(f"delete nft table {table.name} in {table.sandbox}")
        before = tables.generation()
        tables.transact(nft_wire.batch(INET, [nft_wire.removal(table.name)]))
        if tables.generation() == before + 1:
            memory.keep(door.cookie, table.name, before + 1, "")


def _forget(before: NftTable, after: str, runner: Runner) -> None:
    """Have the UDP flows forgotten that go on to somebody who does not serve any more; such flows need never end.

    Those of TCP end by themselves, and whoever was taken out of a service may go on with them.
    """
    if left := _left(before.text, after):
        from . import conntrack

        with runner.inside(before.sandbox):
            conntrack.forget(lambda flow: flow.protocol == "udp" and flow.replier in left.get(flow.destination, ()))


@lru_cache(maxsize=64)
def _left(before: str, after: str) -> dict[bytes, frozenset[bytes]]:
    """Return by virtual IP those who served there and do not any more; packed, as connections have them."""
    new = spreads(after)
    found: dict[bytes, frozenset[bytes]] = {}
    for name, old in spreads(before).items():
        gone = old.turns.keys() - (new[name].turns.keys() if name in new else ())
        for vip in old.vips if gone else ():
            found[_packed(vip)] = frozenset(map(_packed, gone))
    return found


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _side_by_side(task: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Return what the task returns for each item, in this order; many of them are run by several threads."""
    shares = [items[start::THREADS] for start in range(min(THREADS, len(items)))]
    if len(shares) < 2:
        return [task(item) for item in items]
    found = namespaces.side_by_side(*(partial(_each, task, share) for share in shares))
    return [found[number % len(shares)][number // len(shares)] for number in range(len(items))]


def _each(task: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [task(item) for item in items]


# --- what is remembered


class Memory:
    """What was listed: by cookie and table, the generation that it is of and a digest, and texts by digest.

    The digest of a namespace that has no such table is "". `_witnesses` are what the form of a listing depends on.
    """

    def __init__(
        self, seen: dict[str, tuple[int, str]], texts: dict[str, str], witnesses: Mapping[str, object]
    ) -> None:
        self._seen, self._texts, self._witnesses = seen, texts, witnesses
        self._changed = False

    @staticmethod
    def load() -> Memory:
        """Return what the file says; nothing if it is missing, unreadable or outdated."""
        try:
            with open(CACHE, encoding="utf-8") as file:
                raw: Any = json.load(file)
            if raw["witnesses"] == {name: nft.state_of(name) for name in raw["witnesses"]}:
                seen = {label: (int(number), str(digest)) for label, (number, digest) in raw["seen"].items()}
                return Memory(seen, dict(raw["texts"]), raw["witnesses"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            pass  # missing, half-written or of another version
        return Memory({}, {}, {})

    def text(self, cookie: int | None, name: str, generation: int) -> str | None:
        """Return what a table of a namespace was when the ruleset had that number; None if that is not known."""
        number, digest = self._seen.get(f"{cookie} {name}", (-1, ""))
        if number != generation:
            return None
        return self._texts.get(digest) if digest else ""

    def keep(self, cookie: int | None, name: str, generation: int, text: str) -> None:
        """Remember a table as nft lists it, "" where there is none."""
        digest = _digest(text) if text else ""
        if text:
            self._texts.setdefault(digest, text)
        self._seen.pop(f"{cookie} {name}", None)  # the latest come last
        self._seen[f"{cookie} {name}"] = (generation, digest)
        self._changed = True

    def save(self) -> None:
        """Write the file, whole or not at all, if there is something new. Where it can't be the next run is slower."""
        if not self._changed:
            return
        seen = dict(list(self._seen.items())[-_REMEMBERED:])
        used = {digest for _, digest in seen.values()}
        content = {
            "witnesses": self._witnesses or {name: nft.state_of(name) for name in nft.witnesses()},
            "texts": {digest: text for digest, text in self._texts.items() if digest in used},
            "seen": seen,
        }
        draft = f"{CACHE}.{os.getpid()}"
        with suppress(OSError):
            os.makedirs(os.path.dirname(CACHE), mode=0o755, exist_ok=True)
            with open(draft, "w", encoding="utf-8") as file:
                json.dump(content, file)
            os.replace(draft, CACHE)


@lru_cache(maxsize=256)
def _digest(text: str) -> str:
    return blake2b(os.fsencode(text), digest_size=16).hexdigest()
