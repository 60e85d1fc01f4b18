"""The main job, for random manifests on a host in memory: it converges, does what it says, harms nobody, goes back."""

from __future__ import annotations

import errno
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler import engine
from reconciler.errors import ApplyFailed, Refused
from reconciler.host.fake import FakeHost
from reconciler.manifest.model import Manifest
from reconciler.plan import Plan
from reconciler.resources import GUARD_TABLE, NftTable, State
from tests.strategies import (
    Document,
    Foreign,
    canaries,
    documents,
    foreign,
    manifest,
    new_host,
    pairs,
    pinned,
    unprotected,
)

FORCE = engine.Options(force=True)


def go(host: FakeHost, wanted: Manifest, present: Manifest | None = None) -> Plan:
    """Converge from the manifest that is `present`. Where protection forbids that, lift it first, as its words say."""
    refusals = engine.plan(wanted, host, FORCE).refusals
    if present and refusals:
        assert all("is protected" in reason for reason in refusals)
        before = host.snapshot()
        with pytest.raises(Refused):
            engine.converge(wanted, host, FORCE)
        assert host.snapshot() == before
        apply(unprotected(present), host)
    return apply(wanted, host)


def apply(wanted: Manifest, host: FakeHost) -> Plan:
    """Converge, and demand that what was announced is what was done, that it is enough, and that no more is to do."""
    announced = engine.plan(wanted, host, FORCE).plan
    before = host.writes
    report = engine.converge(wanted, host, FORCE)
    assert report.plan == announced
    assert host.writes - before == len(announced.changes)
    again = engine.converge(wanted, host, FORCE)
    assert not again.plan
    assert host.writes - before == len(announced.changes)
    return announced


def what_is(host: FakeHost) -> Mapping[str, object]:
    """Return all there is, without what is never undone: forwarding and its guard."""
    seen = dict(host.snapshot())
    del seen["sysctls"]
    tables = seen["tables"]
    assert isinstance(tables, dict)
    seen["tables"] = {key: text for key, text in tables.items() if key[1] != GUARD_TABLE}
    return seen


def desired(wanted: Manifest, host: FakeHost) -> State:
    """Return what a manifest means on the host as it is, without the guard, which is never undone."""
    everything = engine.plan(wanted, host, FORCE).desired
    return {key: one for key, one in everything.items() if not (isinstance(one, NftTable) and one.name == GUARD_TABLE)}


@given(documents(stock=True))
def test_what_the_strategy_makes_is_a_valid_manifest(document: Document) -> None:
    assert manifest(document).project == "shop"


@given(pair=pairs(stock=True), canary=foreign())
def test_it_converges_says_what_it_does_and_leaves_the_others_alone(
    pair: tuple[Document, Document], canary: Foreign
) -> None:
    host = new_host()
    canary.make(host)
    around, empty = canaries(host), what_is(host)
    first, second = map(manifest, pair)
    present = None
    for wanted in (first, second, first):
        go(host, wanted, present)
        assert canaries(host) == around
        present = wanted
    apply(unprotected(first), host)
    engine.destroy("shop", host)
    assert what_is(host) == empty


@given(pairs(stock=True))
def test_writing_down_what_was_chosen_changes_nothing_and_brings_it_back_after_any_other_manifest(
    pair: tuple[Document, Document],
) -> None:
    """Unpinned, an address depends on what was there before: it stays what it is for as long as it can."""
    host = new_host()
    Foreign(processes=True).make(host)
    document, elsewhere = pair[0], manifest(pair[1])
    go(host, manifest(document))
    there = manifest(pinned(document, engine.plan(manifest(document), host, FORCE).topology))
    assert not apply(there, host)
    first = desired(there, host)
    go(host, elsewhere, there)
    go(host, there, elsewhere)
    assert desired(there, host) == first


@settings(max_examples=25)
@given(
    pair=pairs(stock=True),
    number=st.sampled_from([errno.ENOBUFS, errno.EBUSY, errno.EEXIST, errno.EPERM]),
    batch=st.integers(1, 4),
)
def test_whatever_operation_fails_the_host_is_as_before(
    pair: tuple[Document, Document], number: int, batch: int
) -> None:
    before, after = (manifest(document) for document in pair)
    host = new_host(batch=batch)
    Foreign(processes=True).make(host)
    apply(before, host)
    if engine.plan(after, host, FORCE).refusals:
        apply(unprotected(before), host)
    as_before = host.snapshot()
    for at in range(1000):
        trap = Trap(at, number)
        host.trap = trap
        try:
            engine.converge(after, host, FORCE)
        except ApplyFailed:
            pass
        else:
            assert not trap.sprung
            return
        finally:
            host.trap = None
        assert host.snapshot() == as_before, f"after operation {at} failed"
    pytest.fail("it never ends")


class Trap:
    """Has the n-th operation refused (from 0), and that one only."""

    def __init__(self, at: int, number: int) -> None:
        self.left, self.number, self.sprung = at, number, False

    def __call__(self, what: str) -> None:
        self.left -= 1
        if self.left == -1:
            self.sprung = True
            raise OSError(self.number, "refused")
