"""An answer of `netapply explain`, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..explain import SOMEWHERE, Answer, Way
from .json import FORMAT_VERSION

_WORDS = {"yes": "reaches", "no": "does not reach", "unknown": "may or may not reach"}


def text(answer: Answer) -> str:
    """Return the answer: the verdict in one line, then each way hop by hop, and what would change it."""
    return "".join(f"{line}\n" for line in _lines(answer))


def _lines(answer: Answer) -> Iterator[str]:
    yield f"{answer.start} {_WORDS[answer.verdict]} {answer.target}"
    for way in answer.ways:
        yield ""
        yield f"{_aim(way)}: {way.verdict}" if way.address else f"{way.verdict}"
        width = max(len(hop.where) for hop in way.hops)
        for hop in way.hops:
            yield f"  {hop.where:<{width}}  {hop.what}"
        if way.mend:
            yield f"  to change that: {way.mend}"


def _aim(way: Way) -> str:
    family = next((family for family, one in SOMEWHERE.items() if one == way.address), None)
    return f"outside, IPv{family}" if family else way.address


def as_json(answer: Answer) -> dict[str, Any]:
    """Return the answer as JSON. `open` is false where a way ends, null where nobody can know from here."""
    ways = [
        {
            "address": way.address,
            "verdict": way.verdict,
            "outside": way.outside,
            "hops": [dict(hop._asdict()) for hop in way.hops],
            "mend": way.mend,
        }
        for way in answer.ways
    ]
    return {
        "format_version": FORMAT_VERSION,
        "from": str(answer.start),
        "to": str(answer.target),
        "verdict": answer.verdict,
        "ways": ways,
    }
