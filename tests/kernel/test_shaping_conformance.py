"""The host in memory has queues as the kernel does: the same lists of changes through both, compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.plan import Change
from reconciler.resources import HOST, SHAPED, Link, Shaper
from reconciler.resources.shaping import burst_of, ticks
from tests.samples import WEB

from ..machine import Machine
from . import test_conformance as conformance
from .test_conformance import FRONT, WEB_FRONT, change, gone, made

pytestmark = pytest.mark.needs_kernel("ifb")

TAGGED = replace(WEB_FRONT, tags=(SHAPED,))
IFB = Link("web/front#ifb", "ifb", HOST, "if0", ipv6=False)


def shaper(path: str, rate: int, redirect: bool | None = None) -> Shaper:
    return Shaper(path, rate, burst_of(rate, ticks(rate, 20_000)), 150_000, redirect)


IN = shaper("web/front", 10_000_000)
FASTER = shaper("web/front", 40_000_000_000)
OUT = shaper("web/front#ifb", 5_000_000, True)
SLOWER = shaper("web/front#ifb", 80_000, True)
ALL: list[Change] = made(WEB, FRONT, TAGGED, IFB, IN, OUT)

LISTS: dict[str, list[list[Change]]] = {
    "queues are made, changed and deleted": [
        ALL,
        change(IN, FASTER, "rate", "burst"),
        change(OUT, SLOWER, "rate", "burst"),
        gone(SLOWER, FASTER),
        gone(IFB),
    ],
    "a queue that is there is made once more": [ALL, made(IN, OUT)],
    "what is not there is not taken away": [made(WEB, FRONT, TAGGED, IFB), gone(IN), gone(OUT)],
    "a queue needs its link, and what is redirected another": [
        made(IN),
        made(WEB, FRONT, TAGGED, IN),
        made(OUT),
        made(IFB),
        change(replace(OUT, redirect=False), OUT, "redirect"),
    ],
    "a link that goes leaves packets going nowhere, and is put back": [
        ALL,
        gone(IFB),
        made(IFB),
        change(replace(OUT, rate=0, redirect=False), OUT, "rate", "burst", "limit", "redirect"),
    ],
    "the endpoint takes its queue along, and leaves that of the other link": [ALL, gone(TAGGED), gone(IFB)],
    "a link without the tag has queues that are none of ours": [made(WEB, FRONT, WEB_FRONT, IN)],
}


@pytest.mark.parametrize("lists", LISTS.values(), ids=LISTS.keys())
def test_both_hosts_have_the_same_queues(lists: list[list[Change]], host: Machine) -> None:
    conformance.test_both_hosts_do_the_same(lists, host)
