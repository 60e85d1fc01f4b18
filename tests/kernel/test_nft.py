"""Tables in the kernel: read, replaced and compared exactly, and what is remembered of them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import HostLacks, NotPermitted, OperationFailed
from reconciler.firewall import FAMILY, Zone, guard_of, guard_table, owner_of, table
from reconciler.host import nft
from reconciler.host.namespaces import side_by_side
from reconciler.resources import NftTable
from tests.machine import Machine

GOLDEN = sorted((Path(__file__).parents[1] / "unit" / "golden" / "firewall").glob("*.nft"))

ZONES = [
    Zone("front", "shop-front", ("10.20.0.0/24", "fd00:20::/64"), allow=("back",)),
    Zone("back", "shop-back", ("10.21.0.0/24", "fd00:21::/64"), internal=True),
]
NAME = "netapply-shop"


def _shop(zones: list[Zone] = ZONES) -> str:
    found = table("shop", zones)
    assert isinstance(found, NftTable)
    return found.text


def _put() -> str:
    """Put the table there and return its canonical text."""
    nft.replace(FAMILY, NAME, _shop())
    return nft.canonical(_shop())


def _forbid_nft(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on whoever needs nft itself, not only what is remembered, fails the test."""

    def never(commands: str) -> str:
        raise AssertionError(f"nft was asked: {commands[:60]}")

    monkeypatch.setattr(nft, "run", never)


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "_library", lambda: None)


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_every_golden_table_is_taken_by_the_kernel_and_its_listing_is_canonical(file: Path) -> None:
    text = file.read_text()
    once = nft.canonical(text)
    assert nft.canonical(once) == once
    family, name = text.split()[1:3]
    nft.replace(family, name, text)
    assert nft.read(family, name) == once
    assert owner_of(once) == owner_of(text)
    assert guard_of(once) == guard_of(text)


prefixes = st.one_of(
    st.builds(lambda a, b, n: f"10.{a}.{b // 2**(24 - n) * 2**(24 - n) if n < 24 else b}.0/{n}",
              st.integers(0, 255), st.integers(0, 255), st.integers(17, 24)),
    st.builds(lambda a, n: f"fd00:{a:x}::/{n}", st.integers(1, 0xFFFF), st.integers(48, 127)),
)  # fmt: skip
interfaces = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"], exclude_characters='/:"*'),
                     min_size=1, max_size=15)  # fmt: skip
modes = st.sampled_from(["nat", "routed", "isolated"])


@st.composite
def zone_lists(draw: st.DrawFn) -> list[Zone]:
    links = draw(st.lists(interfaces, min_size=1, max_size=6, unique=True))
    return [
        Zone(
            network=f"n{number}",
            interface=link,
            subnets=tuple(draw(st.lists(prefixes, max_size=2, unique=True))[:1]),
            mode_ipv4=draw(modes),
            mode_ipv6=draw(modes),
            icc=draw(st.booleans()),
            internal=draw(st.booleans()),
            snat_ipv4=draw(st.sampled_from([None, "192.0.2.1"])),
            allow=tuple(draw(st.lists(st.integers(0, 5).map("n{}".format), max_size=3))),
        )
        for number, link in enumerate(links)
    ]


@settings(max_examples=40)
@given(zone_lists())
def test_any_table_is_taken_and_comes_back_the_same(zones: list[Zone]) -> None:
    text = _shop(zones)
    once = nft.canonical(text)
    nft.replace(FAMILY, NAME, text)
    assert nft.read(FAMILY, NAME) == once
    nft.replace(FAMILY, NAME, once)
    assert nft.read(FAMILY, NAME) == once


def test_a_table_that_is_not_there_reads_as_none() -> None:
    assert nft.read(FAMILY, NAME) is None


def test_the_listing_is_what_the_program_prints(host: Machine) -> None:
    text = _put()
    assert host.run(f"nft -s list table {FAMILY} {NAME}").stdout == text
    assert nft.read(FAMILY, NAME) == text


def test_a_table_is_replaced_as_a_whole() -> None:
    nft.replace(FAMILY, NAME, _shop())
    other = _shop([Zone("other", "shop-other", ("10.9.0.0/24",))])
    nft.replace(FAMILY, NAME, other)
    assert nft.read(FAMILY, NAME) == nft.canonical(other)


def test_a_table_that_the_kernel_refuses_leaves_the_old_one() -> None:
    before = _put()
    bad = _shop().replace("goto replies", "goto nowhere")
    with pytest.raises(OperationFailed) as failure:
        nft.replace(FAMILY, NAME, bad)
    assert failure.value.errno == errno.ENOENT
    assert nft.read(FAMILY, NAME) == before


def test_a_syntax_error_is_told_in_the_words_of_nft() -> None:
    with pytest.raises(OperationFailed, match="syntax error"):
        nft.replace(FAMILY, NAME, f"table {FAMILY} {NAME} {{ chain")


def test_a_deleted_table_is_gone() -> None:
    _put()
    nft.delete(FAMILY, NAME)
    assert nft.read(FAMILY, NAME) is None


def test_deleting_what_is_not_there_fails_with_enoent() -> None:
    with pytest.raises(OperationFailed) as failure:
        nft.delete(FAMILY, NAME)
    assert failure.value.errno == errno.ENOENT


def test_foreign_tables_stay_the_same_byte_for_byte(host: Machine) -> None:
    foreign = """
        table inet netapply-other { comment "netapply:other"; chain c { type filter hook forward priority 0; drop; }; }
        table ip nat { chain POSTROUTING { type nat hook postrouting priority 100; counter masquerade; }; }
        table inet filter { set s { type ipv4_addr; flags timeout; }; chain c { ip saddr @s counter drop; }; }
        table bridge b { chain c { type filter hook forward priority 0; accept; }; }
    """
    host.run("nft -f -", stdin=foreign)
    before = host.run("nft list ruleset").stdout
    nft.canonical(_shop())
    nft.replace(FAMILY, NAME, _shop())
    with_ours = host.run("nft list ruleset").stdout
    nft.replace(FAMILY, NAME, _shop(ZONES[:1]))
    nft.delete(FAMILY, NAME)
    assert with_ours.startswith(before)
    assert host.run("nft list ruleset").stdout == before


DRIFT = {
    "a rule deleted": lambda host: _delete_rule(host, "iifname @zones oifname @zones drop"),
    "a rule added": "add rule inet netapply-shop forward accept",
    "a rule edited": lambda host: _delete_rule(host, "iifname . oifname vmap @between", "iifname != lo accept"),
    "a set's element added": 'add element inet netapply-shop zones { "eth0" }',
    "a set's element deleted": 'delete element inet netapply-shop zones { "shop-back" }',
    "a map's element deleted": 'delete element inet netapply-shop between { "shop-back" . "shop-back" }',
    "an interval deleted": 'delete element inet netapply-shop masquerade_ipv4 { "shop-front" . 10.20.0.0/24 }',
    "a chain added": "add chain inet netapply-shop mine",
    "a set added": "add set inet netapply-shop mine { type ipv4_addr; }",
    "the policy changed": "chain inet netapply-shop forward { policy drop; }",
    "the table put to sleep": "table inet netapply-shop { flags dormant; }",
}


def _delete_rule(host: Machine, rule: str, instead: str = "") -> None:
    listing = host.run(f"nft -a list chain {FAMILY} {NAME} forward").stdout
    handle = next(line.rpartition(" ")[2] for line in listing.splitlines() if line.strip().startswith(rule))
    if instead:
        host.run(f"nft replace rule {FAMILY} {NAME} forward handle {handle} {instead}")
    else:
        host.run(f"nft delete rule {FAMILY} {NAME} forward handle {handle}")


@pytest.mark.parametrize("edit", DRIFT.values(), ids=DRIFT)
def test_what_somebody_edits_is_seen_and_mended(host: Machine, edit: str | Callable[[Machine], None]) -> None:
    wanted = _put()
    assert nft.read(FAMILY, NAME) == wanted
    if callable(edit):
        edit(host)
    else:
        host.run("nft -f -", stdin=edit)
    assert nft.read(FAMILY, NAME) != wanted
    nft.replace(FAMILY, NAME, _shop())
    assert nft.read(FAMILY, NAME) == wanted


def test_the_generation_moves_with_each_edit_of_anything_and_not_otherwise(host: Machine) -> None:
    numbers = [nft.generation()]
    for command in ("nft add table ip x", "nft add chain ip x y", "nft delete table ip x"):
        host.run(command)
        numbers.append(nft.generation())
    host.run("nft list ruleset")
    assert nft.generation() == numbers[-1]
    assert len(set(numbers)) == 4


def test_making_a_text_canonical_changes_nothing_where_we_are(host: Machine) -> None:
    before, number = host.snapshot(), nft.generation()
    nft.canonical(_shop())
    assert (host.snapshot(), nft.generation()) == (before, number)


def test_links_with_odd_names_are_guarded_and_read_back(host: Machine) -> None:
    names = ("a.b-c_d@e", "{x};#y", "back\\slash", "$dollar'", "um*laut-ä")
    for name in names:
        host.run(["ip", "link", "add", "name", name, "type", "bridge"])
    guard = guard_table({4: names, 6: names[:1]})
    assert guard is not None
    nft.replace(FAMILY, guard.name, guard.text)
    listing = nft.read(FAMILY, guard.name)
    assert listing is not None
    assert guard_of(listing) == {4: tuple(sorted(names)), 6: names[:1]}


# what is remembered


def _no_op() -> tuple[str, str | None]:
    return nft.canonical(_shop()), nft.read(FAMILY, NAME)


def test_what_is_known_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = _put()
    nft.read(FAMILY, NAME)
    _forbid_nft(monkeypatch)
    assert _no_op() == (wanted, wanted)


def test_that_there_is_no_table_is_known_without_nft(monkeypatch: pytest.MonkeyPatch) -> None:
    _forbid_nft(monkeypatch)
    assert nft.read(FAMILY, NAME) is None
    assert nft.read(FAMILY, NAME) is None


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"witnesses": {}}', '{"witnesses": [], "canonical": {}, "listed": {}}', "\0"],
)
def test_a_broken_memory_is_forgotten(content: str) -> None:
    wanted = _put()
    Path(nft.CACHE).write_text(content)
    assert _no_op() == (wanted, wanted)
    assert json.loads(Path(nft.CACHE).read_text())["witnesses"]


def test_a_memory_of_another_kernel_or_library_is_forgotten() -> None:
    wanted = _put()
    nft.read(FAMILY, NAME)
    memory = json.loads(Path(nft.CACHE).read_text().replace("10.20.0.0/24", "10.99.0.0/24"))
    assert len(memory["witnesses"]) > 3
    for witness in memory["witnesses"]:
        stale = {**memory, "witnesses": {**memory["witnesses"], witness: "another"}}
        Path(nft.CACHE).write_text(json.dumps(stale))
        assert _no_op() == (wanted, wanted), witness


def test_a_memory_that_cannot_be_written_changes_no_result(host: Machine) -> None:
    Path("/run/netapply").write_text("a file where the folder should be")
    wanted = _put()
    assert _no_op() == (wanted, wanted)


def test_the_tables_of_two_namespaces_are_not_mixed_up() -> None:
    wanted = _put()
    assert nft.read(FAMILY, NAME) == wanted
    found: list[str | None] = []
    thread = threading.Thread(target=lambda: found.append(nft.in_scratch_namespace(lambda: nft.read(FAMILY, NAME))))
    thread.start()
    thread.join(timeout=30)
    assert found == [None]
    assert nft.read(FAMILY, NAME) == wanted


def test_what_threads_list_at_once_is_not_mixed_up() -> None:
    elements = "tcp . 80 : 10.20.0.1, udp . 53 : 10.20.0.2"
    nft.run(f"table inet t {{ map m {{ type inet_proto . inet_service : ipv4_addr; elements = {{ {elements} }}; }}; }}")

    def listings() -> set[str]:
        return {nft.run("list table inet t") for _ in range(250)}

    assert len(set[str]().union(*side_by_side(*[listings] * 6))) == 1


# what the host lacks


def test_the_program_does_what_the_library_does(no_library: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert nft.read(FAMILY, NAME) is None
    text = nft.canonical(_shop())
    nft.replace(FAMILY, NAME, _shop())
    assert nft.read(FAMILY, NAME) == text
    with pytest.raises(OperationFailed) as failure:
        nft.delete(FAMILY, "none-such")
    assert failure.value.errno == errno.ENOENT
    monkeypatch.undo()
    Path(nft.CACHE).unlink()
    assert nft.canonical(_shop()) == text


def test_a_host_without_nftables_says_how_to_get_it(no_library: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "PROGRAM", "no-such-program")
    with pytest.raises(HostLacks, match="apt install nftables"):
        nft.canonical(_shop())


def test_a_program_that_hangs_is_an_error(no_library: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slow = tmp_path / "nft"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(nft, "PROGRAM", str(slow))
    monkeypatch.setattr(nft, "PROGRAM_TIMEOUT", 0.2)
    with pytest.raises(OperationFailed, match="did not end") as failure:
        nft.delete(FAMILY, NAME)
    assert failure.value.errno == errno.ETIMEDOUT


def test_a_library_that_is_not_there_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "LIBRARY", "libnone-such.so.1")
    assert nft._library.__wrapped__() is None


def _as_nobody(task: Callable[[], object]) -> str:
    """Do something in a child process without any rights; returns the class of what it raises, "" for nothing."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        raised = ""
        try:
            os.setgroups([])
            os.setuid(65534)
            task()
        except BaseException as failure:  # noqa: BLE001 - it is told
            raised = type(failure).__name__
        finally:
            os.write(writer, raised.encode())
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as told:
        answer = told.read()
    os.waitpid(child, 0)
    return answer


@pytest.mark.parametrize(
    "task",
    [
        nft.generation,
        lambda: nft.read(FAMILY, NAME),
        lambda: nft.replace(FAMILY, NAME, _shop()),
        lambda: nft.delete(FAMILY, NAME),
        lambda: nft.canonical(_shop()),
    ],
    ids=["generation", "read", "replace", "delete", "canonical"],
)
def test_without_rights_it_is_not_permitted(task: Callable[[], object]) -> None:
    assert _as_nobody(task) == NotPermitted.__name__


def test_a_run_that_finds_all_remembered_loads_no_library(host: Machine) -> None:
    wanted = _put()
    nft.read(FAMILY, NAME)
    code = (
        "import sys; from reconciler.host import nft\n"
        f"assert nft.read({FAMILY!r}, {NAME!r}) == nft.canonical({_shop()!r}) == {wanted!r}\n"
        "maps = open('/proc/self/maps').read()\n"
        "print('libnftables' in maps, 'ctypes' in sys.modules, 'subprocess' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "False", "False"]
