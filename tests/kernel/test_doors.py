"""Sockets into sandboxes that are kept: they act where they were opened, are not too many, and are closed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from reconciler.errors import OperationFailed
from reconciler.host import namespaces, rtnetlink
from reconciler.host.doors import Doors
from reconciler.host.namespaces import Place
from tests.machine import Machine

NAMES = ("web", "db", "cache")


@pytest.fixture
def doors(host: Machine) -> Iterator[Doors]:
    for name in NAMES:
        host.run(f"ip netns add {name}")
    home = namespaces.current()
    doors = Doors(home)
    yield doors
    doors.close()
    os.close(home)


def place(name: str) -> Place:
    return Place(namespaces.path_of(name))


def loopback_is_up(host: Machine, name: str) -> bool:
    return "UP" in host.run("ip -br link show lo", netns=name).stdout


def test_what_is_sent_acts_in_the_sandbox_and_the_thread_stays_where_it_is(host: Machine, doors: Doors) -> None:
    before = os.stat("/proc/thread-self/ns/net")
    for _ in range(2):  # opened, and kept
        with doors.into("web", place("web")) as door:
            assert os.stat("/proc/thread-self/ns/net") == before
            (answer,) = door.send([rtnetlink.set_link(rtnetlink.link(index=1, up=True))])
            assert not answer.errno
    assert [name for name in NAMES if loopback_is_up(host, name)] == ["web"]


def test_one_socket_is_opened_for_each_and_none_is_left(doors: Doors) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        for name in NAMES:
            with doors.into(name, place(name)):
                pass
    assert len(os.listdir("/proc/self/fd")) == before + len(NAMES)
    doors.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_more_are_kept_than_a_quarter_of_the_files_that_may_be_open(
    host: Machine, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespaces, "descriptor_limit", lambda: 8)
    before = len(os.listdir("/proc/self/fd"))
    for name in NAMES:
        with doors.into(name, place(name)) as door:
            door.send([rtnetlink.set_link(rtnetlink.link(index=1, up=True))])
    assert len(os.listdir("/proc/self/fd")) == before + 2
    assert all(loopback_is_up(host, name) for name in NAMES)


def test_a_sandbox_that_is_elsewhere_now_is_entered_anew(host: Machine, doors: Doors) -> None:
    with doors.into("web", place("web")) as door:
        first = door.cookie
    with doors.into("web", place("db")) as door:
        assert door.cookie != first
    with (
        pytest.raises(OperationFailed, match="become another one"),
        doors.into("web", Place(place("cache").path, first)),
    ):
        pass
    with pytest.raises(OperationFailed, match="ENOENT"), doors.into("mail", place("mail")):
        pass
