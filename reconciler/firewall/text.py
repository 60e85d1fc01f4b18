"""How nft writes tables: names, sets, maps, chains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..errors import HostLacks
from ..naming import digest
from ..resources import ALIAS, NftTable

FAMILY = "inet"

HOOKS = {
    "arriving": "type filter hook prerouting priority raw; policy accept;",
    "forward": "type filter hook forward priority filter; policy accept;",
    "postrouting": "type nat hook postrouting priority srcnat; policy accept;",
    "prerouting": "type nat hook prerouting priority dstnat; policy accept;",
    "nat_output": "type nat hook output priority -100; policy accept;",
    "input": "type filter hook input priority filter; policy accept;",
    "output": "type filter hook output priority filter; policy accept;",
    "leaving": "type filter hook postrouting priority filter; policy accept;",
}
"""The base chains that a table may have, by name, in the order in which they stand in it."""


class Part(NamedTuple):
    """What one thing adds to a project's table.

    `collections` are sets and maps: "set zones" or "map into", the type (which may end in "; flags interval"), and the
    elements; one without elements is left out. `chains` are rules by chain; those of HOOKS become base chains.
    """

    collections: Sequence[tuple[str, str, Sequence[str]]]
    chains: Mapping[str, Sequence[str]]


def table_name(project: str) -> str:
    """Return the name of the project's table, an nft identifier: netapply-PROJECT where that is one."""
    plain = "".join(letter for letter in project if letter.isascii() and (letter.isalnum() or letter in "_.-"))
    return f"netapply-{project}" if plain == project else f"netapply-{plain}-{digest(project).hex()[:8]}"


def composed(project: str, parts: Sequence[Part]) -> NftTable | None:
    """Return the project's table, None if no part has anything. Of one chain, the rules of the first part come first.

    Raises HostLacks for a name that nft can't say.
    """
    chains: dict[str, list[str]] = {}
    for part in parts:
        for name, rules in part.chains.items():
            chains.setdefault(name, []).extend(rules)
    order = [*(name for name in chains if name not in HOOKS), *(name for name in HOOKS if chains.get(name))]
    blocks = [
        collection(name, type_, elements) for part in parts for name, type_, elements in part.collections if elements
    ]
    blocks += [
        block(f"chain {name}", [HOOKS[name], *chains[name]] if name in HOOKS else chains[name]) for name in order
    ]
    name = table_name(project)
    return NftTable(FAMILY, name, table_text(name, project, blocks)) if blocks else None


def owner_of(text: str) -> str | None:
    """Return the project that a table belongs to by its comment, "" for the guard's; None if it is somebody else's."""
    for line in text.splitlines()[1:]:
        if line.endswith("{"):
            break
        start, _, rest = line.strip().partition(f'comment "{ALIAS}')
        if not start and rest.endswith('"'):
            return rest[:-1]
    return None


def table_text(name: str, owner: str, blocks: Iterable[str]) -> str:
    """Return a table of these blocks; its comment says whose it is: a project, "" for the host's guard."""
    return f'table {FAMILY} {name} {{\n\tcomment "{ALIAS}{owner}"\n\n' + "\n".join(blocks) + "}\n"


def collection(name: str, type_: str, elements: Iterable[str]) -> str:
    """Return a set or a map. `name` is "set zones" or "map into", `type_` may end in "; flags interval"."""
    lines = [f"type {type_.replace('; ', chr(10) + chr(9) * 2)}", "elements = {"]
    return block(name, [*lines, *(f"\t{element}," for element in elements), "}"])


def block(head: str, lines: Iterable[str]) -> str:
    """Return a block of a table, such as a chain with its rules."""
    return f"\t{head} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"


def quoted(interface: str) -> str:
    """Return the name of a link as nft reads and prints it: it has no escapes, and a * at the end means "any"."""
    if '"' in interface or interface.endswith("*"):
        raise HostLacks(f"nft can't name the link {interface}; rename it")
    return f'"{interface}"'
