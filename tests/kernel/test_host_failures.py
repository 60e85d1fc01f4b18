"""What fails says so, leaves what was there, and what was cut off half-way is finished by the next run."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from contextlib import suppress

import pytest

from reconciler.errors import HostLacks, LockHeld, NetapplyError, NotPermitted, OperationFailed
from reconciler.host.linux import LinuxHost
from reconciler.plan import Create
from reconciler.resources import Key, Link, NftTable, state

from .host_world import World, changed, everything, ip, make_uplink, without

WHOLE = without(everything(), ("sysctl", "net.ipv4.ip_forward"))  # that stays as it is once it is set
UPDATED = changed(
    changed(WHOLE, "link", "web/front", mtu=1300, name="renamed", sysctls={"ipv4.conf.rp_filter": "1"}),
    "link",
    "db/lan",
    options={"mode": "bridge"},
)
STEPS = [
    ("from nothing to everything", {}, WHOLE),
    ("from everything to something else", WHOLE, without(UPDATED, ("address", "db/front 10.20.0.11/24"))),
    ("from everything to nothing", WHOLE, {}),
]


class Tripwire:
    """A trap that counts, and acts at one of the effects (counted from 0)."""

    def __init__(self, at: int = -1, act: Callable[[], None] = lambda: None) -> None:
        self.at, self.act, self.seen = at, act, list[str]()

    def __call__(self, what: str) -> None:
        self.seen.append(what)
        if len(self.seen) - 1 == self.at:
            self.act()


def effects(before: dict[Key, object], after: dict[Key, object]) -> list[str]:
    """Return the effects on the way from one state to another."""
    wire = Tripwire()
    World().converge(before)  # type: ignore[arg-type]
    World(wire).converge(after)  # type: ignore[arg-type]
    return wire.seen


@pytest.mark.thorough
@pytest.mark.parametrize(("before", "after"), [step[1:] for step in STEPS], ids=[step[0] for step in STEPS])
def test_killed_before_any_effect_the_next_run_converges(before: dict[Key, object], after: dict[Key, object]) -> None:
    make_uplink()
    total = len(effects(before, after))
    assert total > 8
    for at in range(total):
        World().converge(before)  # type: ignore[arg-type]
        wire = Tripwire(at, lambda: os.kill(os.getpid(), signal.SIGKILL))
        child = os.fork()
        if not child:
            with suppress(BaseException):
                World(wire).attempt(after)  # type: ignore[arg-type]
            os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), f"effect {at} was not reached"
        World().converge(after)  # type: ignore[arg-type]
        if not after:
            assert ip("netns list") == ""
            assert len(ip("-o link show").splitlines()) == 3  # lo, uplink, far


@pytest.mark.thorough
@pytest.mark.parametrize(("before", "after"), [step[1:] for step in STEPS], ids=[step[0] for step in STEPS])
def test_an_effect_that_fails_is_told_and_the_way_back_is_open(
    before: dict[Key, object], after: dict[Key, object]
) -> None:
    make_uplink()
    total = len(effects(before, after))
    for at in range(total):
        World().converge(before)  # type: ignore[arg-type]

        def fail() -> None:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

        world = World(Tripwire(at, fail))
        errors = world.attempt(after)  # type: ignore[arg-type]
        assert "No buffer space available (ENOBUFS)" in str(errors[0])
        assert isinstance(errors[0], OperationFailed)
        assert errors[0].errno == errno.ENOBUFS
        world.attempt(before)  # type: ignore[arg-type]
        assert world.plan(before).changes == ()  # type: ignore[arg-type]
        world.host.release()


def test_without_rights_the_error_names_them() -> None:
    def refuse() -> None:
        raise PermissionError(errno.EPERM, "no")

    make_uplink()
    with pytest.raises(NotPermitted, match="CAP_NET_ADMIN and CAP_SYS_ADMIN"):
        World(Tripwire(4, refuse)).attempt(everything())


def test_an_ordinary_user_may_not_look_into_namespaces() -> None:
    make_uplink()
    World().converge(everything())
    assert _as_nobody(lambda: World().observe()) == "NotPermitted"


def test_an_ordinary_user_may_not_take_the_lock() -> None:
    os.chmod("/run", 0o755)

    def take() -> None:
        with LinuxHost().lock(0):
            pass

    assert _as_nobody(take) == "NotPermitted"


def _as_nobody(task: Callable[[], object]) -> str:
    """Run a task in a child without rights and return the name of the error that it ends with."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            task()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
            os.write(writing, type(error).__name__.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as told:
        return told.read()


def test_a_kind_of_link_that_the_kernel_has_not_is_something_the_host_lacks() -> None:
    from reconciler.host import kinds

    world = World()
    world.observe()
    unknown = Link("x", "nosuchkind", "", "x")
    with pytest.raises(HostLacks, match="makes no links of kind nosuchkind"):
        list(world.host.apply([Create(unknown)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(kinds.KINDS, "nosuchkind", {})
        with pytest.raises(HostLacks, match=r"no links of kind nosuchkind; load the module \(modprobe nosuchkind\)"):
            list(world.host.apply([Create(unknown)]))


def test_a_mark_that_is_too_long_is_an_error_before_anything_is_made() -> None:
    settings = {f"ipv4.conf.setting_number_{number}": "1" for number in range(12)}
    world = World()
    world.observe()
    (result,) = world.host.apply([Create(Link("x", "bridge", "", "x", sysctls=settings))])
    assert "the kernel keeps 255" in str(result.error)
    assert len(ip("-o link show").splitlines()) == 1


def test_after_a_failure_later_changes_are_made_all_the_same() -> None:
    world = World()
    world.observe()
    wrong = Link("x", "bridge", "", "a-name-that-is-too-long")
    results = list(world.host.apply([Create(wrong), Create(Link("y", "bridge", "", "y"))]))
    assert [isinstance(result.error, OperationFailed) for result in results] == [True, False]
    assert "link a-name-that-is-too-long: " in str(results[0].error)


def test_a_namespace_that_became_another_one_meanwhile_is_not_touched() -> None:
    make_uplink()
    world = World()
    world.converge(without(everything(), *(key for key in everything() if key.kind != "netns")))
    plan = world.plan(everything())
    ip("netns del web")
    ip("netns add web")
    errors: list[NetapplyError] = [result.error for result in world.host.apply(plan.changes) if result.error]
    assert "has become another one meanwhile" in "\n".join(map(str, errors))


def test_changing_a_host_that_was_not_observed_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="observed before it is changed"):
        list(LinuxHost().apply([]))


def test_the_lock_names_its_holder_and_ends_with_it() -> None:
    reading, writing = os.pipe()
    asked, asking = os.pipe()
    child = os.fork()
    if not child:
        with LinuxHost().lock(0):
            os.write(writing, b"!")
            os.read(asked, 1)
        os._exit(0)
    os.read(reading, 1)
    with pytest.raises(LockHeld, match=rf"process {child}\) is at work"), LinuxHost().lock(0.05):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with LinuxHost().lock(0):
        pass
    for end in (reading, writing, asked, asking):
        os.close(end)


def test_a_table_is_made_replaced_and_removed() -> None:
    world = World()
    name = "netapply-shop"
    text = f'table inet {name} {{\n\tcomment "netapply:shop"\n\n\tchain c {{\n\t}}\n}}\n'
    wanted = world.host.canonical(state([NftTable("inet", name, text)]))
    world.converge(wanted)
    ip("netns add x")  # something else happens
    assert world.plan(wanted).changes == ()
    more = world.host.canonical(state([NftTable("inet", name, text.replace("chain c", "chain d"))]))
    assert [type(change).__name__ for change in world.converge(more).changes] == ["Update"]
    world.converge({})
