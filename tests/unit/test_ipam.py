"""Addresses, subnets and pools as numbers."""

from __future__ import annotations

import ipaddress
import socket
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.allocation import ipam
from reconciler.allocation.ipam import Pool, Prefix, Wish

V6 = st.integers(0, 2**128 - 1) | st.lists(st.sampled_from([0, 0, 0, 1, 0xFFFF, 0x1234]), min_size=8, max_size=8).map(
    lambda groups: sum(group << 16 * at for at, group in enumerate(groups))
)


@given(st.integers(0, 2**32 - 1))
def test_ipv4_is_spelled_as_the_kernel_does(value: int) -> None:
    spelling = socket.inet_ntop(socket.AF_INET, value.to_bytes(4))
    assert ipam.text(4, value) == spelling
    assert ipam.address(spelling) == (4, value)


@given(V6)
def test_ipv6_is_spelled_as_the_kernel_does(value: int) -> None:
    spelling = socket.inet_ntop(socket.AF_INET6, value.to_bytes(16))
    assert ipam.text(6, value) == spelling
    assert ipam.address(spelling) == (6, value)


@pytest.mark.parametrize(
    "spelling", ["::", "::1", "1::", "::ffff:192.0.2.1", "::192.0.2.1", "2001:db8:0:1:0:1:0:1", "1:0:0:2::3", "fe80::1"]
)
def test_spellings_come_back_as_they_went(spelling: str) -> None:
    assert ipam.text(*ipam.address(spelling)) == spelling


def test_the_zone_of_an_address_is_dropped() -> None:
    assert ipam.address("fe80::1%eth0") == ipam.address("fe80::1")


@pytest.mark.parametrize("spelling", ["", "10.0.0", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "10.0.0.x", "g::", "1::2::3"])
def test_what_is_no_address_is_an_error(spelling: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        ipam.address(spelling)


@given(st.integers(0, 32), st.integers(0, 2**32 - 1))
def test_prefixes_agree_with_ipaddress(length: int, value: int) -> None:
    spelling = f"{ipam.text(4, value)}/{length}"
    prefix, oracle = ipam.prefix(spelling), ipaddress.ip_network(spelling, strict=False)
    assert str(prefix) == str(oracle)
    assert prefix.last == int(oracle.broadcast_address)
    assert value in prefix


@pytest.mark.parametrize(
    ("prefix", "low", "high"),
    [
        ("10.0.0.0/24", "10.0.0.1", "10.0.0.254"),
        ("10.0.0.0/30", "10.0.0.1", "10.0.0.2"),
        ("10.0.0.0/31", "10.0.0.0", "10.0.0.1"),
        ("10.0.0.5/32", "10.0.0.5", "10.0.0.5"),
        ("fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff"),
        ("fd00::/126", "fd00::1", "fd00::3"),
        ("fd00::/127", "fd00::", "fd00::1"),
        ("fd00::5/128", "fd00::5", "fd00::5"),
    ],
)
def test_usable_addresses(prefix: str, low: str, high: str) -> None:
    assert ipam.prefix(prefix).usable == (ipam.address(low)[1], ipam.address(high)[1])


# --- subnets


def cut(*wishes: Wish, pools: tuple[Pool, ...] | None = None, **more: list[Prefix]) -> list[str]:
    found = ipam.cut(wishes, pools if pools is not None else ipam.docker_pools(), project="p", **more)
    return [str(one) for one in found]


def wish(name: str, length: int | None = None, *held: str, family: int = 4) -> Wish:
    return Wish((name,), family, length, tuple(map(ipam.prefix, held)))


def prefixes(*spellings: str) -> list[Prefix]:
    return list(map(ipam.prefix, spellings))


def test_docker_pools_are_dockers() -> None:
    found = [(str(pool.base), pool.size) for pool in ipam.docker_pools()]
    assert found == [*((f"172.{second}.0.0/16", 16) for second in range(17, 32)), ("192.168.0.0/16", 20)]


def test_all_31_default_subnets_are_given_and_no_32nd() -> None:
    found = cut(*(wish(f"n{at:02}") for at in range(32)))
    assert found[-1] == "None"
    assert len(set(found[:31])) == 31
    assert sum(one.endswith("/16") for one in found) == 15


def test_pools_of_another_size_serve_only_when_those_before_are_full() -> None:
    found = cut(*(wish(f"n{at:02}") for at in range(16)))
    assert [one for one in found if one.startswith("192.168.")] == [found[15]]


def test_what_is_held_stays_though_the_host_uses_it_now() -> None:
    assert cut(wish("a", None, "172.30.0.0/16"), used=prefixes("172.16.0.0/12")) == ["172.30.0.0/16"]


def test_what_is_held_moves_for_what_is_pinned() -> None:
    assert cut(wish("a", None, "172.30.0.0/16"), pinned=prefixes("172.30.5.0/24")) != ["172.30.0.0/16"]


def test_what_could_not_have_been_cut_from_the_pools_is_not_kept() -> None:
    """So that a subnet that was pinned and no longer is goes back to the pools."""
    assert cut(wish("a", None, "10.1.0.0/16", "172.30.5.0/24")) == cut(wish("a"))


def test_sizes_are_cut_from_the_pools() -> None:
    found = cut(wish("a", 24), wish("b", 28), wish("c", 8))
    assert [one.partition("/")[2] for one in found] == ["24", "28", ""]
    assert all(ipam.prefix(one).overlaps(ipam.prefix("172.16.0.0/12")) for one in found[:2])


def test_leaving_networks_are_avoided_while_there_is_room() -> None:
    pool = (Pool(ipam.prefix("10.0.0.0/23"), 24),)
    assert cut(wish("a"), pools=pool, avoided=prefixes("10.0.0.0/24")) == ["10.0.1.0/24"]
    assert cut(wish("a"), pools=pool, avoided=prefixes("10.0.0.0/24"), used=prefixes("10.0.1.0/24")) == ["10.0.0.0/24"]


def test_unique_local_pools_differ_by_project() -> None:
    one, other = ipam.unique_local_pool("shop"), ipam.unique_local_pool("blog")
    assert one != other
    assert ipam.prefix("fd00::/8").covers(one.base)
    assert (one.base.length, one.size) == (48, 64)


PREFIX = st.builds(
    lambda value, length: ipam.prefix(f"{ipam.text(4, value)}/{length}"),
    st.integers(0x0A000000, 0x0A00FFFF),
    st.integers(16, 32),
)


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.none() | st.integers(20, 30), max_size=8),
    st.lists(PREFIX, max_size=6),
    st.lists(PREFIX, max_size=4),
    st.lists(PREFIX, max_size=4),
    st.randoms(),
)
def test_subnets_are_distinct_free_and_independent_of_order(
    names: dict[str, int | None], used: list[Prefix], pinned: list[Prefix], avoided: list[Prefix], random: Random
) -> None:
    pools = (Pool(ipam.prefix("10.0.0.0/20"), 24), Pool(ipam.prefix("10.0.64.0/20"), 24))
    wishes = [Wish((name,), 4, length) for name, length in names.items()]
    found = ipam.cut(wishes, pools, project="p", used=used, pinned=pinned, avoided=avoided)
    given_out = [one for one in found if one]
    for at, one in enumerate(given_out):
        assert any(pool.base.covers(one) for pool in pools)
        assert not any(one.overlaps(other) for other in (*given_out[:at], *used, *pinned))
    order = list(range(len(wishes)))
    random.shuffle(order)
    again = ipam.cut([wishes[at] for at in order], pools, project="p", used=used, pinned=pinned, avoided=avoided)
    assert again == [found[at] for at in order]


@given(st.sets(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=12), st.lists(PREFIX, max_size=6))
def test_a_subnet_is_refused_only_when_none_is_left(names: set[str], used: list[Prefix]) -> None:
    base = ipam.prefix("10.0.0.0/21")
    found = ipam.cut([Wish((name,), 4) for name in names], [Pool(base, 24)], project="p", used=used)
    slots = prefixes(*(f"10.0.{third}.0/24" for third in range(8)))
    free = [slot for slot in slots if not any(slot.overlaps(one) for one in used)]
    assert sum(one is not None for one in found) == min(len(names), len(free))


# --- addresses


def test_a_place_derives_from_the_names() -> None:
    first = ipam.places([(1, 1000)], {"a": ()}, words=("p", "n"))
    assert first == ipam.places([(1, 1000)], {"a": ()}, words=("p", "n"))
    assert first != ipam.places([(1, 1000)], {"a": ()}, words=("p", "other"))


def test_what_is_held_is_kept_unless_it_is_reserved_or_outside() -> None:
    held = {"a": (7,)}
    assert ipam.places([(1, 100)], held) == {"a": 7}
    assert ipam.places([(1, 100)], held, reserved={7}) != {"a": 7}
    assert ipam.places([(8, 100)], held) != {"a": 7}


def test_of_two_that_hold_one_address_the_first_by_name_keeps_it() -> None:
    found = ipam.places([(1, 100)], {"b": (7,), "a": (7,)})
    assert found["a"] == 7
    assert found["b"] != 7


def test_of_several_held_the_derived_one_is_kept() -> None:
    """An address that somebody added by hand does not win over ours."""
    own = ipam.places([(1, 100)], {"a": ()})["a"]
    assert ipam.places([(1, 100)], {"a": (own % 100 + 1, own)})["a"] == own


def test_the_second_range_serves_when_the_first_is_full() -> None:
    found = ipam.places([(1, 2), (11, 20)], dict.fromkeys("abc", ()))
    assert sorted(found.values())[:2] == [1, 2]
    assert 11 <= max(found.values()) <= 20


def test_leaving_addresses_are_avoided_while_there_is_room() -> None:
    assert ipam.places([(1, 2)], {"a": ()}, avoided={1}) == {"a": 2}
    assert ipam.places([(1, 2)], {"a": ()}, avoided={2}) == {"a": 1}
    assert ipam.places([(1, 2)], {"a": ()}, avoided={1, 2}).keys() == {"a"}


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.lists(st.integers(0, 40), max_size=2), max_size=30),
    st.sets(st.integers(0, 40)),
    st.sets(st.integers(0, 40)),
    st.integers(5, 35),
)
def test_places_are_distinct_inside_and_not_reserved(
    wanting: dict[str, list[int]], reserved: set[int], avoided: set[int], high: int
) -> None:
    found = ipam.places([(5, high)], wanting, reserved=reserved, avoided=avoided)
    assert len(set(found.values())) == len(found)
    assert all(5 <= place <= high for place in found.values())
    assert not reserved & set(found.values())
    room = len(set(range(5, high + 1)) - reserved)
    assert len(found) == min(len(wanting), room)


@given(
    st.sets(st.text("abcdef", min_size=1, max_size=4), max_size=20),
    st.sets(st.text("abcdef", min_size=1, max_size=4), max_size=20),
)
def test_new_names_renumber_nobody(before: set[str], added: set[str]) -> None:
    first = ipam.places([(1, 60)], dict.fromkeys(before, ()))
    then = ipam.places([(1, 60)], {name: (first[name],) if name in first else () for name in before | added})
    assert {name: then[name] for name in before} == first
