"""The changes of a plan as lines of text: what a plan that changes nothing need not import."""

from __future__ import annotations

from collections.abc import Iterator

from ..plan import Change, Create, Delete, Update
from ..resources import NftTable
from . import services
from .content import Content
from .details import details
from .entries import SERVICES, Entry, grouped, resource_of, source
from .terminal import BOLD, COLOURS, DIM, View
from .titles import title
from .words import in_full

SHORT_DIFF = 12
"""Lines of a firewall's diff that are shown without -v."""

LONGEST_DIFF = 20_000
"""Lines, both texts together, past which no diff is made: comparing takes too long and nobody reads it."""


def changes(entries: tuple[Entry, ...], content: Content, view: View) -> Iterator[str]:
    """Yield the lines of the entries, network by network, an empty one after each."""
    for heading, group in grouped(entries, content.networks, content.containers):
        yield view.paint(heading, BOLD)
        for entry in group:
            yield from _entry(entry, content, view)
        yield ""


def _entry(entry: Entry, content: Content, view: View) -> Iterator[str]:
    changes = (entry.head,) if entry.head else entry.changes
    place = content.position and next(filter(None, (source(one, content.position) for one in changes)), None)
    where = view.paint(f"  ({place.file}:{place.line})", DIM) if place else ""
    yield f"  {view.sign(entry.action)} {view.paint(title(entry), COLOURS[entry.action])}{where}"
    for action, line in services.lines(entry, content.names) if entry.thing == SERVICES else details(entry):
        yield f"      {_mark(action, view)}{view.paint(line, COLOURS.get(action, DIM))}"
    if view.verbose or entry.thing.kind == "firewall":
        for change in entry.changes:
            yield from _in_full(change, view)


def _in_full(change: Change, view: View) -> Iterator[str]:
    if isinstance(resource_of(change), NftTable):
        yield from (f"      {line}" for line in firewall(change, view))
    elif view.verbose:
        yield view.paint(f"      {_verb(change)} {in_full(resource_of(change))}", DIM)


def _mark(action: str, view: View) -> str:
    return f"{view.sign(action)} " if action in ("add", "remove", "replace") else ""


def _verb(change: Create | Update | Delete) -> str:
    return type(change).__name__.lower()


def firewall(change: Create | Update | Delete, view: View) -> Iterator[str]:
    """Yield the change of an nft table: as a diff with the chain or set that each hunk is in; short unless verbose."""
    before = change.before.text if isinstance(change, Update | Delete) and isinstance(change.before, NftTable) else ""
    after = change.after.text if isinstance(change, Update | Create) and isinstance(change.after, NftTable) else ""
    if not view.verbose and not (before and after):
        return
    old, new = before.splitlines(), after.splitlines()
    if len(old) + len(new) > LONGEST_DIFF:
        yield view.paint(f"{len(old)} lines → {len(new)} lines", COLOURS["change"])
        return
    lines = list(_hunks(old, new, view))
    shown = len(lines) if view.verbose else SHORT_DIFF
    yield from lines[:shown]
    if len(lines) > shown:
        yield view.paint(f"… {len(lines) - shown} more lines, -v shows them", DIM)


def _hunks(old: list[str], new: list[str], view: View) -> Iterator[str]:
    from difflib import SequenceMatcher  # only where a firewall changes

    for group in SequenceMatcher(None, old, new).get_grouped_opcodes(1):
        holder = next((line for line in reversed(old[: group[0][1] + 1]) if line.endswith("{")), "")
        holder = holder.rstrip("{").strip()
        yield view.paint(f"@@ {holder}".rstrip(), DIM)
        for tag, start, end, new_start, new_end in group:
            if tag == "equal":
                yield from (view.paint(f"  {_indented(line)}", DIM) for line in old[start:end])
                continue
            yield from (view.paint(f"- {_indented(line)}", COLOURS["remove"]) for line in old[start:end])
            yield from (view.paint(f"+ {_indented(line)}", COLOURS["add"]) for line in new[new_start:new_end])


def _indented(line: str) -> str:
    return line.expandtabs(4)
