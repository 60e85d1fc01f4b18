"""Names and MACs that are derived from the manifest's names."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from reconciler.naming import IFNAMSIZ, bridge_name, digest, mac_address, veth_name

names = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,60}", fullmatch=True)


def test_a_short_name_is_readable() -> None:
    assert bridge_name("shop", "front") == "shop-front"


def test_a_name_that_is_too_long_or_could_be_anothers_ends_in_a_digest() -> None:
    assert re.fullmatch(r"frontend-[0-9a-f]{6}", bridge_name("a-long-project", "frontend"))
    assert bridge_name("a-b", "c") != bridge_name("a", "b-c")


@given(names, names)
def test_every_derived_name_fits_the_kernel(project: str, network: str) -> None:
    for name in (bridge_name(project, network), veth_name(project, f"{network}/x")):
        assert re.fullmatch(r"[^\s/:%]+", name)
        assert len(name.encode()) <= IFNAMSIZ
        assert name not in (".", "..")


@given(st.lists(st.tuples(names, names), unique=True, max_size=50))
def test_no_two_networks_share_a_bridge_name(pairs: list[tuple[str, str]]) -> None:
    assert len({bridge_name(*pair) for pair in pairs}) == len(pairs)


@given(names, names)
def test_macs_are_unicast_and_locally_administered(project: str, path: str) -> None:
    mac = mac_address(project, path)
    assert re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", mac)
    assert int(mac[:2], 16) & 0b11 == 0b10


def test_what_is_derived_is_the_same_in_every_run_and_release() -> None:
    """Changing one of these renumbers or replaces links of everybody who upgrades."""
    assert digest("shop", "front").hex() == "d9f49450e06df41bb4b683850dd42fb3"
    assert veth_name("shop", "web/front") == "vec977c551b5bf4"
    assert mac_address("shop", "web/front") == "e2:de:27:67:79:07"


def test_words_are_kept_apart() -> None:
    assert digest("ab", "c") != digest("a", "bc")
