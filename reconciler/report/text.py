"""A plan as text that reads like a good diff: what changes, from what to what, and where the manifest says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .content import Content
from .terminal import BOLD, DIM, RED, YELLOW, View

if TYPE_CHECKING:
    from .entries import Counts


def plan(content: Content, view: View, *, checked: bool = False) -> str:
    """Return the report, lines ended by a newline each. `checked`: say that nothing was changed."""
    lines = [*_remarks(content, view), _nothing(content, view)]
    if content.plan:
        lines = list(_changing(content, view))
        if checked:
            lines.append("checked only: nothing was changed")
    return "".join(f"{line}\n" for line in lines)


def _remarks(content: Content, view: View) -> Iterator[str]:
    yield from (view.paint(f"note: {note}") for note in content.plan.notes)
    yield from (
        view.paint(f"pending: container {name}: {why}", YELLOW) for name, why in sorted(content.pending.items())
    )
    yield from (view.paint(f"refused: {reason}", RED) for reason in content.refusals)


def _nothing(content: Content, view: View) -> str:
    sizes = [
        f"{len(names)} {word}{'s' * (len(names) != 1)}"
        for names, word in ((content.networks, "network"), (content.containers, "container"))
        if names
    ]
    size = f" ({', '.join(sizes)})" if sizes else ""
    return view.paint(f"{content.project}: nothing to do{size}")


def _changing(content: Content, view: View) -> Iterator[str]:
    from .changes import changes  # 5 ms, which a run that changes nothing need not wait for
    from .entries import Counts, count, fold

    entries = fold(content.plan)
    yield from changes(entries, content, view)
    yield from _remarks(content, view)
    done = content.seconds is not None
    in_time = f" in {content.seconds:.2f} s" if content.seconds is not None else ""
    yield view.paint(f"{content.project}: {summary(count(entries), done)}{in_time}", BOLD)
    if view.verbose:
        yield view.paint(f"kernel objects: {summary(Counts(*content.plan.counts), done)}", DIM)


def summary(counts: Counts, done: bool = False) -> str:
    """Return "3 to add, 1 to change, 0 to remove", in the past tense if it is done."""
    words = [
        f"{counts.add} {'added' if done else 'to add'}",
        f"{counts.change} {'changed' if done else 'to change'}",
        f"{counts.remove} {'removed' if done else 'to remove'}",
    ]
    if counts.replace:
        words.append(f"{counts.replace} {'replaced' if done else 'to replace'}")
    return ", ".join(words)
