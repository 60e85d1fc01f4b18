"""What is wrong with the rest of a manifest that has refused values: what is wrong whatever those should have been.

The rules are run several times, with the refused values left out and with values that they could have had. What only
one of these manifests has wrong is a consequence of a refused value, and is not said; what all have wrong is an error
of its own, and is said at once. So no rule, and no driver's `check`, has to know what was refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from ..errors import Position, Problem
from . import ip
from .core import CORE
from .tree import Map, Place, Seq

Refused: TypeAlias = tuple["Map | Seq", str | None]
"""A mapping and the key whose value it lost, or a list that lost an item, and None."""

Path: TypeAlias = tuple[str | None, ...]

MOST = 6
"""How often the rules are run at most, whatever is refused: errors are told soon also of large manifests."""

MANY = 100_000
"""How much may be supposed in all."""

ABSENT: Any = object()
NOWHERE: Place = ("", 0, 0)
"""Where what is supposed is: nobody wrote it, so that nothing is wrong with it."""


class Guess(NamedTuple):
    """A refused value: where it was, what may be there instead, and in a list the other items with their places."""

    of: Map | Seq
    key: str | None
    ways: Sequence[Any]
    items: Sequence[Any] = ()
    places: Sequence[Place] = ()

    def suppose(self, number: int) -> None:
        """Put the value of that round there."""
        way = self.ways[number % len(self.ways)]
        if isinstance(self.of, Seq):
            more = () if way is ABSENT else way
            self.of[:] = [*self.items, *more]
            self.of.item_at = [*self.places, *(NOWHERE for _ in more)]
        elif self.key is not None and way is ABSENT:
            self.of.pop(self.key, None)
        elif self.key is not None:
            self.of[self.key] = way
            self.of.key_at[self.key] = self.of.value_at[self.key] = NOWHERE


def problems_of_the_rest(
    root: Map, texts: Mapping[str, str], refused: Sequence[Refused], places: Collection[Position]
) -> list[Problem]:
    """Return what the rules find in any case. `places` are those of values that no manifest could be built of.

    The tree is changed: no manifest can be made of it any more.
    """
    from .build import build
    from .rules import findings

    supposed = list(guesses(root, refused, frozenset(places)))
    found: list[Problem] | None = None
    for number in range(min(MOST, max((len(guess.ways) for guess in supposed), default=1))):
        for guess in supposed:
            guess.suppose(number)
        told = [one for one in findings(build(root, texts, [])) if one.position != Position(*NOWHERE)]
        known = set(told)
        found = told if found is None else [one for one in found if one in known]
        if not found:
            break
    return list(dict.fromkeys(found or ()))


def guesses(root: Map, refused: Sequence[Refused], places: Collection[Position]) -> Iterator[Guess]:
    """Yield each refused value once, with what it may be; those in what was refused as a whole are not there."""
    wanted: dict[int, dict[str | None, None]] = {}  # by id() of what lost something
    for of, key in refused:
        wanted.setdefault(id(of), {})[key] = None
    guessing = _Guessing(root, max(8, MANY // max(1, len(refused))))
    for path, node in _nodes((), root):
        keys = wanted.get(id(node), {})
        if places:
            keys = {**keys, **dict.fromkeys(_placed(node, places))}
        for key in keys:
            ways = guessing.ways((*path, key))
            if isinstance(node, Seq):
                good = [pair for pair in zip(node, node.item_at, strict=True) if pair[1] not in places]
                yield Guess(node, key, ways, [item for item, _ in good], [at for _, at in good])
            else:
                yield Guess(node, key, ways)


def _nodes(path: Path, node: Any) -> Iterator[tuple[Path, Map | Seq]]:
    if isinstance(node, Map):
        yield path, node
        for key, one in node.items():
            yield from _nodes((*path, key), one)
    elif isinstance(node, Seq):
        yield path, node
        for one in node:
            yield from _nodes((*path, None), one)


def _placed(node: Map | Seq, places: Collection[Position]) -> Iterator[str | None]:
    """Yield what of a mapping or a list is in one of those places, but for prefixes: what is meant is known of them."""
    if isinstance(node, Seq):
        yield from [None] if any(at in places for at in node.item_at) else ()
        return
    for key, value in node.items():
        if node.value_at[key] in places and not (isinstance(value, str) and ip.prefix(value)):
            yield key


class _Guessing:
    """Finds values that a manifest could have had at a path; those that are many have `most` entries at most."""

    def __init__(self, root: Map, most: int) -> None:
        self.root = root
        self.most = most
        self.count = 0

    def ways(self, path: Path) -> Sequence[Any]:
        match path:
            case ("project",):
                return ("x",)
            case ("networks" | "hosts" | "containers" as section,):
                return self.sections(section)
            case ("networks" | "hosts" | "containers" as section, str()):
                return self.items(section)
            case ("networks", _, "driver"):
                return ("bridge", "macvlan")
            case ("networks", name, "driver_opts", *rest) if len(rest) < 2:
                return self.options(str(name), rest)
            case ("networks", _, "ipam", *rest) if not rest or rest[-1] in ("config", None, "subnet"):
                return _subnets(len(rest) - (rest[-1:] == ["subnet"]), needed=rest[-1:] == ["subnet"])
            case ("containers", _, "networks"):
                return (ABSENT, _seq(self.names("networks")))
            case ("containers", _, "networks", None):
                return (ABSENT, self.names("networks"))
            case ("containers", _, "networks", str()):
                return (None, _map({"ipv4_address": self.address(4), "ipv6_address": self.address(6)}))
            case ("containers", _, "sandbox"):
                return (ABSENT, _map({"pid": 4194304}))
            case ("containers", _, "host"):
                return (ABSENT, *self.names("hosts")[:3], "x")
            case ("services", _, "network"):
                return self.names("networks")[: MOST - 1] or ("x",)
            case ("services", _, "containers"):
                return (_seq(["*"]),)
            case ("services", _, "containers", None):
                return (ABSENT, ["*"])
        return self.others(path)

    def others(self, path: Path) -> Sequence[Any]:
        last = path[-1]
        if last is None:
            return (ABSENT,)  # an item of a list whose other items are enough
        if path[0] == "hosts" and last == "address":
            return (self.address(4), self.address(6))
        if last in ("destination", "base"):
            return (f"{self.address(4)}/32", f"{self.address(6)}/128")
        if last in ("ipv4_address", "ipv6_address"):
            return (ABSENT, self.address(4 if last == "ipv4_address" else 6))
        return (ABSENT, *_by_schema(_schema(path)))

    def sections(self, section: str) -> Sequence[Any]:
        """Return what a whole section may be: what others mention is there in any case, beside what is left of it."""
        present = self.root.get(section) or _map({})
        names = [name for name in self.mentioned(section) if name not in present]
        rounds = zip(*(self.items(section) for _ in names), strict=True)
        made = [_map(dict(zip(names, items, strict=True))) for items in rounds]
        for one in made:
            one.update(present)
            one.key_at.update(present.key_at)
            one.value_at.update(present.value_at)
        return made or (present or ABSENT,)

    def items(self, section: str) -> Sequence[Any]:
        """Return what one network, host or container may be: it is there in any case, since others may name it."""
        if section == "networks":
            return tuple(_map(one) for one in ({}, {"driver": "macvlan"}, {"internal": True}, {"enable_ipv6": True}))
        if section == "hosts":
            return tuple(_map({"address": self.address(family)}) for family in (4, 6))
        return (_map({}), _map({"networks": _seq(self.names("networks"))}))

    def options(self, network: str, rest: Sequence[str | None]) -> Sequence[Any]:
        """Return what driver_opts may be, or the one of them that `rest` names."""
        from ..drivers import find

        driver = find((self.root["networks"][network] or {}).get("driver", "bridge"))
        if driver is None:
            return (ABSENT,)
        if rest:
            return (ABSENT, *_by_schema(driver.OPTIONS.get(str(rest[0]), {})))
        known = {name: _by_schema(schema) for name, schema in driver.OPTIONS.items()}
        return (
            ABSENT,
            *(_map({name: of[at % len(of)] for name, of in known.items() if of}) for at in range(2)),
        )

    def names(self, section: str) -> list[str]:
        return list(islice(self.root.get(section) or (), self.most))

    def mentioned(self, section: str) -> list[str]:
        """Return the names that others say of a section."""
        said: list[Any] = []
        containers, services = (self.root.get(name) or {} for name in ("containers", "services"))
        if section == "networks":
            said += [name for one in containers.values() if one for name in one.get("networks") or ()]
            said += [one.get("network") for one in services.values()]
        elif section == "hosts":
            said += [one.get("host") for one in containers.values() if one]
        else:
            said += [name for one in services.values() for name in one.get("containers") or ()]
        return list(dict.fromkeys(name for name in said if isinstance(name, str)))

    def address(self, family: int) -> str:
        """Return an address that nobody else has: of those for tests of networks (RFC 2544), or for documents."""
        self.count += 1
        return ip.text(family, (198 << 24 | 18 << 16 if family == 4 else 0x20010DB8 << 96) + self.count % (1 << 17))


def _subnets(depth: int, *, needed: bool) -> Sequence[Any]:
    """Return an `ipam` (depth 0), its `config` (1), more entries of that (2), or a subnet (3): any of some length."""
    if needed:
        return ("0.0.0.0/24", "::/64")
    entries = [_map({"subnet": subnet}) for subnet in ("0.0.0.0/24", "::/64")]
    return (ABSENT, (_map({"config": _seq(entries)}), _seq(entries), entries)[depth])


def _map(values: Mapping[str, Any]) -> Map:
    made = Map(NOWHERE)
    made.update(values)
    made.key_at, made.value_at = dict.fromkeys(values, NOWHERE), dict.fromkeys(values, NOWHERE)
    return made


def _seq(values: Sequence[Any]) -> Seq:
    made = Seq(NOWHERE)
    made.extend(values)
    made.item_at = [NOWHERE for _ in values]
    return made


def _schema(path: Path) -> Mapping[str, Any]:
    """Return the schema of what is at a path, an empty one where that is not known."""
    schema: Mapping[str, Any] = CORE
    for step in path:
        if step is None:
            schema = schema.get("items", {})
        else:
            more = schema.get("additionalProperties")
            schema = schema.get("properties", {}).get(step, more if isinstance(more, Mapping) else {})
        if "$ref" in schema:
            schema = CORE["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


_TEXTS = ("x", "/x", "/x/cni", "/x/cni.conf", "1")


def _by_schema(schema: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return some single values that a schema takes: all where there are few, none where it takes mappings only."""
    from .checks import ecma, types_of

    if "enum" in schema:
        return tuple(schema["enum"])
    types = types_of(schema)
    if "boolean" in types:
        return (True, False)
    if "integer" in types:
        least = schema.get("minimum", 0)
        return (least, schema.get("maximum", least + 1000))
    if "string" in types:
        search = ecma(schema["pattern"]) if "pattern" in schema else lambda text: True
        barred = schema.get("not", {}).get("enum", ())
        return tuple(text for text in _TEXTS if search(text) and text not in barred)[:1]
    return ()
