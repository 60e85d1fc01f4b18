"""Addresses, subnets and pools as numbers: which are free, and which of them a name gets. Pure.

An address is an int beside its family, 4 or 6. A place is derived from names and found again by every run; what is held
already stays; on a clash the next place is tried (linear probing). Names are served in sorted order, so that the order
of a manifest changes nothing.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from ..naming import digest

BITS = {4: 32, 6: 128}

_DERIVED = 1 << 32
"""How far into a range derived places reach: enough for every IPv4 range, and IPv6 addresses stay short."""


class Prefix(NamedTuple):
    """A subnet: its first address and its prefix length."""

    family: int
    first: int
    length: int

    def __str__(self) -> str:
        return f"{text(self.family, self.first)}/{self.length}"

    @property
    def last(self) -> int:
        return self.first | ((1 << BITS[self.family] - self.length) - 1)

    def __contains__(self, address: object) -> bool:
        return isinstance(address, int) and self.first <= address <= self.last

    def covers(self, other: Prefix) -> bool:
        return self.family == other.family and self.first <= other.first and other.last <= self.last

    def overlaps(self, other: Prefix) -> bool:
        return self.family == other.family and self.first <= other.last and other.first <= self.last

    @property
    def usable(self) -> tuple[int, int]:
        """The lowest and the highest address that a link may have.

        Without the network and the broadcast address (RFC 1122, 3.2.1.3) but for /31 and /32 (RFC 3021), and without
        the subnet-router anycast address (RFC 4291, 2.6.1) but for /127 (RFC 6164) and /128.
        """
        if self.length >= BITS[self.family] - 1:
            return self.first, self.last
        return self.first + 1, self.last - (self.family == 4)


class Pool(NamedTuple):
    """Where subnets of the prefix length `size` are cut from."""

    base: Prefix
    size: int


class Wish(NamedTuple):
    """A subnet to be chosen. `words` derive its place, `length` None means the pool's size, `held` are those it has."""

    words: tuple[str, ...]
    family: int
    length: int | None = None
    held: tuple[Prefix, ...] = ()


def address(spelling: str) -> tuple[int, int]:
    """Return the family and the number of an address; a zone ("%eth0") is dropped. Raises ValueError."""
    plain = spelling.partition("%")[0]
    try:
        if ":" not in plain:
            a, b, c, d = map(int, plain.split("."))
            return 4, a << 24 | b << 16 | c << 8 | d
        if "." in plain:
            head, _, tail = plain.rpartition(":")
            low = address(tail)[1]
            plain = f"{head}:{low >> 16:x}:{low & 0xFFFF:x}"
        left, gap, right = plain.partition("::")
        groups = left.split(":") if left else []
        if gap:
            rest = right.split(":") if right else []
            groups += ["0"] * (8 - len(groups) - len(rest)) + rest
        a, b, c, d, e, f, g, h = (int(group, 16) for group in groups)
    except ValueError:
        raise ValueError(f"{spelling!r} is not an address") from None
    return 6, a << 112 | b << 96 | c << 80 | d << 64 | e << 48 | f << 32 | g << 16 | h


def text(family: int, value: int) -> str:
    """Return the canonical spelling: RFC 5952, and IPv4 in IPv6 dotted where inet_ntop of glibc does so."""
    if family == 4:
        return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
    groups = [value >> shift & 0xFFFF for shift in range(112, -1, -16)]
    start, length, run = 0, 1, 0  # the longest run of zeros, and of those the first; one alone is spelled out
    for at, group in enumerate(groups):
        run = 0 if group else run + 1
        if run > length:
            start, length = at + 1 - run, run
    if start == 0 and (length == 6 or (length == 5 and groups[5] == 0xFFFF)):
        return f"::{'ffff:' if length == 5 else ''}{text(4, value & 0xFFFFFFFF)}"
    spelled = [f"{group:x}" for group in groups]
    if length == 1:
        return ":".join(spelled)
    return f"{':'.join(spelled[:start])}::{':'.join(spelled[start + length :])}"


def prefix(spelling: str) -> Prefix:
    """Return the subnet of "10.20.0.0/24", or that of an address with its length; one without is a single address."""
    host, slash, length = spelling.partition("/")
    family, value = address(host)
    bits = BITS[family]
    size = int(length) if slash else bits
    return Prefix(family, value >> bits - size << bits - size, size)


def docker_pools() -> tuple[Pool, ...]:
    """Return Docker's default IPv4 pools (daemon/libnetwork/ipamutils of moby)."""
    sixteens = (Prefix(4, 172 << 24 | second << 16, 16) for second in range(17, 32))
    return (*(Pool(base, 16) for base in sixteens), Pool(Prefix(4, 192 << 24 | 168 << 16, 16), 20))


def unique_local_pool(project: str) -> Pool:
    """Return the project's own IPv6 pool: a /48 of fd00::/8 with a 40-bit digest of its name (RFC 4193, 3.2)."""
    return Pool(Prefix(6, 0xFD << 120 | int.from_bytes(digest("ula", project)[:5]) << 80, 48), 64)


def cut(
    wishes: Sequence[Wish],
    pools: Sequence[Pool],
    *,
    project: str,
    pinned: Sequence[Prefix] = (),
    used: Iterable[Prefix] = (),
    avoided: Iterable[Prefix] = (),
) -> list[Prefix | None]:
    """Return a subnet for each wish, None where the pools have no room for it.

    None overlaps with another or with a pinned one. What is held and could have been cut from the pools stays, whatever
    the host has come to use since. A new one overlaps with none in `used`, nor, while there are others, in `avoided`.
    """
    order = sorted(range(len(wishes)), key=lambda at: wishes[at].words)
    result: list[Prefix | None] = [None] * len(wishes)
    kept = list(pinned)
    for at in order:
        for held in wishes[at].held:
            if _is_cut(held, wishes[at], pools) and not any(held.overlaps(other) for other in kept):
                result[at] = held
                kept.append(held)
                break
    missing = [at for at in order if result[at] is None]
    if missing:
        taken, shunned = _Intervals([*kept, *used]), _Intervals(avoided)
        for at in missing:
            chosen = _chosen(wishes[at], pools, project, (taken, shunned)) or _chosen(
                wishes[at], pools, project, (taken,)
            )
            if chosen:
                result[at] = chosen
                taken.add(chosen)
    return result


def _is_cut(held: Prefix, wish: Wish, pools: Iterable[Pool]) -> bool:
    """Whether a subnet is one that a wish could get: what was pinned once is not kept when it no longer is."""
    return any(held.length == (wish.length or pool.size) and pool.base.covers(held) for pool in pools)


class _Intervals:
    """Merged ranges of both families, to be searched by halving: hosts can have very many routes."""

    def __init__(self, prefixes: Iterable[Prefix]) -> None:
        self._ranges: list[tuple[int, int, int]] = []
        for family, first, last in sorted({(one.family, one.first, one.last) for one in prefixes}):
            if self._ranges and self._ranges[-1][0] == family and self._ranges[-1][2] >= first:
                self._ranges[-1] = (family, self._ranges[-1][1], max(last, self._ranges[-1][2]))
            else:
                self._ranges.append((family, first, last))

    def add(self, free: Prefix) -> None:
        """Add one that overlaps with none yet."""
        insort(self._ranges, (free.family, free.first, free.last))

    def end_of_clash(self, family: int, first: int, last: int) -> int:
        """Return the end of the range that overlaps with first to last, -1 if there is none."""
        at = bisect_right(self._ranges, (family, last, 1 << 128)) - 1
        if at >= 0 and self._ranges[at][0] == family and self._ranges[at][2] >= first:
            return self._ranges[at][2]
        return -1


def _chosen(wish: Wish, pools: Sequence[Pool], project: str, used: Sequence[_Intervals]) -> Prefix | None:
    """Return the free subnet at or after the wish's place, going round among pools of one size before those after."""
    seed = int.from_bytes(digest("subnet", project, *wish.words))
    for size, alike in groupby((pool for pool in pools if pool.base.family == wish.family), key=lambda pool: pool.size):
        length = wish.length or size
        bases = [pool.base for pool in alike if pool.base.length <= length]
        for base, start, stop in _round(bases, length, seed):
            shift = BITS[base.family] - length
            slot = start
            while slot < stop:
                first = base.first + (slot << shift)
                last = first + (1 << shift) - 1
                clash = max(ranges.end_of_clash(base.family, first, last) for ranges in used)
                if clash < 0:
                    return Prefix(base.family, first, length)
                slot = (clash - base.first >> shift) + 1
    return None


def _round(bases: Sequence[Prefix], length: int, seed: int) -> Iterator[tuple[Prefix, int, int]]:
    """Yield stretches of slots, as base, start and stop, that begin at the seed's place and go round once."""
    counts = [1 << length - base.length for base in bases]
    place = seed % sum(counts) if counts else 0
    at = 0
    while counts and place >= counts[at]:
        place -= counts[at]
        at += 1
    if bases:
        yield bases[at], place, counts[at]
        for other in (*range(at + 1, len(bases)), *range(at)):
            yield bases[other], 0, counts[other]
        yield bases[at], 0, place


def places(
    ranges: Sequence[tuple[int, int]],
    wanting: Mapping[str, Sequence[int]],
    *,
    reserved: Collection[int] = (),
    avoided: Collection[int] = (),
    words: Sequence[str] = (),
) -> dict[str, int]:
    """Return an address for each wanting name; a name that is not in the result found no room.

    `ranges` are the lowest and highest addresses, the first with room serves. `wanting` says what each name has: that
    stays, if it is in a range and neither reserved nor another's. New ones stay clear of `avoided` while they can.
    """
    taken = set(reserved)
    found: dict[str, int] = {}
    names = sorted(wanting)
    for name in names:
        held = [
            place for place in wanting[name] if place not in taken and any(low <= place <= high for low, high in ranges)
        ]
        if held:
            derived = {_derived(low, high, words, name) for low, high in ranges} if len(held) > 1 else ()
            found[name] = next((place for place in held if place in derived), held[0])
            taken.add(found[name])
    clear = taken.union(avoided) if avoided else taken
    rooms = list(ranges)
    for name in names if len(found) < len(names) else ():
        if name in found:
            continue
        place = _free(rooms, clear, words, name)
        if place is None and clear is not taken:
            place = _free(rooms, taken, words, name)
        if place is None:
            break  # nor is there room for those that follow
        found[name] = place
        taken.add(place)
        clear.add(place)
    return found


def _derived(low: int, high: int, words: Sequence[str], name: str) -> int:
    return low + int.from_bytes(digest("address", *words, name)[:8]) % min(high - low + 1, _DERIVED)


def _free(ranges: Iterable[tuple[int, int]], taken: Collection[int], words: Sequence[str], name: str) -> int | None:
    """Return the free address at or after the name's place, going round in each range before the next."""
    for low, high in ranges:
        start = place = _derived(low, high, words, name)
        while place in taken:
            place = low if place == high else place + 1
            if place == start:
                break
        else:
            return place
    return None
