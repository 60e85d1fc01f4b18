"""Tables in sandboxes: copied as nft would write them, known again without asking nft, and never more than seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler import engine
from reconciler.errors import OperationFailed
from reconciler.firewall import FAMILY
from reconciler.firewall.services import table
from reconciler.host import nft, nft_wire, tables
from reconciler.host.linux import LinuxHost
from reconciler.manifest import load
from reconciler.manifest.model import Manifest
from reconciler.networks import Backend, Service, ServicePort
from reconciler.resources import NftTable
from tests.machine import Machine

from .test_services import SHOP

NAME = "netapply-shop"
SERVICES = [
    Service(
        f"s{number}",
        "front",
        (f"10.20.9.{number}", f"fd00:20::9:{number}"),
        tuple(Backend(f"b{one}", (f"10.20.0.{one}", f"fd00:20::{one}"), 1 + one % 3) for one in range(1, number + 1)),
        (ServicePort(80), ServicePort(53, protocol="udp"), ServicePort(9, protocol="sctp")) if number % 2 else (),
        affinity=number % 3 == 0,
    )
    for number in range(12)
]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "shop.yaml").write_text(SHOP)
    return load([str(tmp_path / "shop.yaml")])


@contextmanager
def without_nft(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def never(commands: str) -> str:
        raise AssertionError(f"nft was asked: {commands[:60]}")

    with monkeypatch.context() as patch:
        patch.setattr(nft, "run", never)
        yield


def test_a_copied_table_is_listed_as_the_one_that_nft_made() -> None:
    made = table("shop", SERVICES, "")
    assert made is not None

    def record() -> tuple[str, list[nft_wire.Message]]:
        nft.run(made.text)
        return nft.run(f"list table {FAMILY} {NAME}"), nft_wire.recorded(nft_wire.INET, NAME)

    listed, messages = nft.in_scratch_namespace(record)

    def copy() -> list[str]:
        found = []
        with nft_wire.NftSocket() as door:
            fresh = [nft_wire.making(NAME), nft_wire.removal(NAME), *messages]
            for one in (messages, fresh):
                before = door.generation()
                door.transact(nft_wire.batch(nft_wire.INET, one))
                assert door.generation() == before + 1
                found.append(nft.run(f"list table {FAMILY} {NAME}"))
        return found

    assert nft.in_scratch_namespace(copy) == [listed, listed]


def test_a_transaction_that_is_refused_leaves_everything_as_it_was() -> None:
    def refused() -> str:
        nft.run(f"add table {FAMILY} {NAME}")
        with nft_wire.NftSocket() as door, pytest.raises(OperationFailed, match="No such file"):
            door.transact(nft_wire.batch(nft_wire.INET, [nft_wire.making("other"), nft_wire.removal("nobodys")]))
        return nft.run("list ruleset")

    assert "other" not in nft.in_scratch_namespace(refused)


def test_a_second_run_needs_no_nft_at_all(host: Machine, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.converge(manifest, LinuxHost())
    with without_nft(monkeypatch):
        assert not engine.plan(manifest, LinuxHost()).plan


def test_a_table_is_listed_anew_once_anybody_edits_in_that_namespace(
    host: Machine, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.converge(manifest, LinuxHost())
    host.run("nft add table inet other", netns="client")
    asked: list[str] = []
    run = nft.run

    def noting(commands: str) -> str:
        asked.append(commands)
        return run(commands)

    monkeypatch.setattr(nft, "run", noting)
    assert not engine.plan(manifest, LinuxHost()).plan
    assert asked == [f"list table inet {NAME}"]
    assert not engine.plan(manifest, LinuxHost()).plan
    assert len(asked) == 1


@pytest.mark.parametrize("content", ["", "{", '{"witnesses": {}, "seen": {"1": 2}}', None])
def test_losing_what_was_remembered_costs_time_and_changes_nothing(
    host: Machine, manifest: Manifest, content: str | None
) -> None:
    engine.converge(manifest, LinuxHost())
    if content is None:
        Path(tables.CACHE).unlink()
    else:
        Path(tables.CACHE).write_text(content)
    assert not engine.plan(manifest, LinuxHost()).plan
    remembered = json.loads(Path(tables.CACHE).read_text())
    assert (len(remembered["seen"]), len(remembered["texts"])) == (4, 1)


def test_a_manifest_without_services_asks_no_sandbox(
    host: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.yaml").write_text(SHOP.partition("services:")[0])
    monkeypatch.setattr(tables, "seen", None)
    engine.converge(load([str(tmp_path / "shop.yaml")]), LinuxHost())


def test_a_namespace_that_goes_while_netapply_looks_has_no_table(
    host: Machine, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.converge(manifest, LinuxHost())
    load_memory = tables.Memory.load

    def gone_by_now() -> tables.Memory:
        host.run("ip netns del client", check=False)
        return load_memory()

    monkeypatch.setattr(tables.Memory, "load", gone_by_now)
    state = LinuxHost().observe(engine.scope_of(manifest)).state
    assert sorted(one.sandbox for one in state.values() if isinstance(one, NftTable)) == ["", "api-1", "api-2", "api-3"]
