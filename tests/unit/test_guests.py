"""What others have put into the project's namespaces, and on its links, for random manifests: nothing of it is lost."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given

from reconciler import engine
from reconciler.errors import Refused
from reconciler.host.fake import FakeHost
from reconciler.manifest.model import Manifest
from tests.strategies import Document, Foreign, Guests, guests, manifest, new_host, pairs, unprotected

FORCE = engine.Options(force=True)


def attempt(host: FakeHost, wanted: Manifest | None) -> None:
    """Converge, or destroy for None; where that is refused nothing is touched."""
    before = host.snapshot()
    try:
        engine.converge(wanted, host, FORCE) if wanted else engine.destroy("shop", host)
    except Refused:
        assert host.snapshot() == before


@given(pair=pairs(stock=True), theirs=guests())
def test_nothing_of_theirs_goes_with_an_edit_or_with_everything(
    pair: tuple[Document, Document], theirs: Guests
) -> None:
    host = new_host()
    Foreign(processes=True).make(host)
    first, second = map(manifest, pair)
    engine.converge(unprotected(first), host, FORCE)
    lost = theirs.put(host)
    assert not engine.converge(unprotected(first), host, FORCE).plan
    for wanted in (second, unprotected(first), None):
        attempt(host, wanted)
        assert lost() == []


SHOP: Document = {
    "project": "shop",
    "networks": {"front": {"ipam": {"config": [{"subnet": "10.20.0.0/24"}]}}},
    "containers": {"web": {"networks": {"front": None}}, "db": {"networks": {"front": None}}},
}
ALL = frozenset({0, 1})


def on(host: FakeHost, **theirs: frozenset[int]) -> None:
    engine.converge(manifest(SHOP), host, FORCE)
    Guests(**theirs).put(host)


def test_a_namespace_with_a_link_of_others_stays_with_a_note() -> None:
    host = new_host()
    on(host, inside=ALL)
    report = engine.destroy("shop", host)
    assert report.notes == tuple(
        f"namespace netns:{name} stays while bridge theirs of others is in it; a later run removes it"
        for name in ("db", "web")
    )
    assert {*host.kernel.names} == {"db", "web"}
    assert not engine.destroy("shop", host).plan


@pytest.mark.parametrize(
    ("theirs", "named"),
    [
        ({"upon": frozenset({0})}, "vlan theirs.7 of others is on eth0 in "),
        ({"addresses": ALL}, "address 203.0.113.77/32 of others is on shop-front, and would go with it"),
        ({"routes": ALL}, "route 198.51.0.0/24 of others is on shop-front, and would go with it"),
    ],
)
def test_what_would_be_taken_along_is_named(theirs: dict[str, frozenset[int]], named: str) -> None:
    host = new_host()
    on(host, **theirs)
    before = host.snapshot()
    with pytest.raises(Refused, match=named):
        engine.destroy("shop", host)
    assert host.snapshot() == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"ipam": {"config": [{"subnet": "10.21.0.0/24"}]}}, "would go with its last IPv4 address"),
        ({"driver_opts": {"name": "br7"}}, "would go when it is taken down"),
    ],
)
def test_a_route_that_an_edit_would_take_along_is_named(options: Document, named: str) -> None:
    host = new_host()
    on(host, routes=ALL)
    before = host.snapshot()
    edited = {**SHOP, "networks": {"front": {**SHOP["networks"]["front"], **options}}}
    with pytest.raises(Refused, match=f"route 198.51.0.0/24 of others is on shop-front, and {named}"):
        engine.converge(manifest(edited), host, FORCE)
    assert host.snapshot() == before
    with suppress(KeyError):
        del host.kernel.host.routes["198.51.0.0/24", 0]
    engine.converge(manifest(edited), host, FORCE)
