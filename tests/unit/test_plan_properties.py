"""On a host in memory, plans do what they say, from any state to any other."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconciler.host import Scope
from reconciler.host.fake import FakeHost
from reconciler.networks import SandboxRef
from reconciler.plan import Create, Delete, Plan, diff
from reconciler.resources import Link, State, Sysctl, differences, value_of
from tests.samples import deeds
from tests.strategies import CONTAINERS, Foreign, canaries, foreign, new_host, state_pairs, states

SCOPE = Scope("shop", {name: SandboxRef("netns", name, create=True) for name in CONTAINERS})


def carry_out(host: FakeHost, desired: State) -> Plan:
    """Make the host what is desired, and demand that all goes well and nothing else is done."""
    result = diff(desired, host.observe(SCOPE).state)
    writes = host.writes
    for change, error in host.apply(result.changes):
        assert error is None, f"{error} in {deeds(result.changes)} at {deeds([change])}"
    assert host.writes - writes == len(result.changes)
    host.release()
    assert deeds(diff(desired, host.observe(SCOPE).state).changes) == []
    return result


def essence(host: FakeHost) -> State:
    """What the host has of the project, without what its kernel picks anew each time, and what is never set back."""
    return {
        key: replace(one, mac=None, peer=one.peer and replace(one.peer, mac=None)) if isinstance(one, Link) else one
        for key, one in host.observe(SCOPE).state.items()
        if not isinstance(one, Sysctl)
    }


@given(pair=state_pairs(), canary=foreign())
def test_carrying_out_a_plan_leads_from_any_state_to_any_other_and_back(
    pair: tuple[State, State], canary: Foreign
) -> None:
    before, after = pair
    host = new_host()
    canary.make(host)
    around = canaries(host)
    carry_out(host, before)
    there = essence(host)
    carry_out(host, after)
    assert canaries(host) == around
    carry_out(host, before)
    assert _unequal(before, there, essence(host)) == []
    carry_out(host, {})
    assert canaries(host) == around


def _unequal(desired: State, first: State, second: State) -> list[str]:
    """Names what is not the same in two observed states, of what is desired and not left to the kernel."""
    assert first.keys() == second.keys()
    found: list[str] = []
    for key, one in desired.items():
        if not isinstance(one, Link | Sysctl):
            found += [str(key)] * (first[key] != second[key])
        elif isinstance(one, Link):
            fields = differences(first[key], second[key])
            found += [f"{key} {name}" for name in fields if "options." not in name or value_of(one, name) is not None]
    return found


@given(pair=state_pairs())
def test_nothing_is_made_before_what_it_requires_nor_deleted_before_what_requires_it(pair: tuple[State, State]) -> None:
    before, after = pair
    changes = diff(after, before).changes
    made = {change.key: place for place, change in enumerate(changes) if isinstance(change, Create)}
    gone = {change.key: place for place, change in enumerate(changes) if isinstance(change, Delete)}
    for place, change in enumerate(changes):
        if isinstance(change, Delete):
            assert all(gone.get(need, place) >= place for need in change.before.requires)
        else:
            assert all(made.get(need, -1) < place for need in change.after.requires)
    assert all(gone[key] < made[key] for key in gone.keys() & made.keys())


@given(states())
def test_the_difference_of_a_state_and_itself_is_empty(one: State) -> None:
    assert diff(one, one) == diff(one, one, exact=True) == Plan()


@given(pair=state_pairs(), data=st.data())
def test_a_plan_does_not_depend_on_the_order_in_which_states_are_written(
    pair: tuple[State, State], data: st.DataObject
) -> None:
    before, after = pair
    shuffled = dict(data.draw(st.permutations(list(after.items()))))
    assert diff(shuffled, before) == diff(after, before)


@given(pair=state_pairs())
def test_what_is_replaced_was_there_and_is_deleted_or_goes_with_what_contains_it(pair: tuple[State, State]) -> None:
    before, after = pair
    changes = diff(after, before).changes
    deleted = {change.key for change in changes if isinstance(change, Delete)}
    for change in changes:
        if isinstance(change, Create) and change.replaces:
            have = before[change.key]
            assert change.reason
            assert change.key in deleted or any(need in deleted for need in have.requires)
        elif isinstance(change, Create):
            assert change.key not in before


@given(pair=state_pairs(), batch=st.integers(1, 5), at=st.integers(0, 200))
def test_whatever_operation_fails_the_way_back_leads_to_exactly_what_was_there(
    pair: tuple[State, State], batch: int, at: int
) -> None:
    before, after = pair
    host = new_host(batch=batch)
    Foreign().make(host)
    carry_out(host, before)
    as_before, was = host.snapshot(), host.observe(SCOPE).state
    host.trap = fail_at(at)
    for _, error in host.apply(diff(after, was).changes):
        if error:
            break
    host.trap = None
    for _ in range(2):  # a namespace that comes back may bring along what is put back into it
        back = diff(was, host.observe(SCOPE).state, exact=True)
        errors = [error for _, error in host.apply(back.changes) if error]
    assert errors == []
    host.release()
    assert host.snapshot() == as_before


class fail_at:  # noqa: N801 - it is used as a function
    """A trap that has the n-th operation refused (from 0)."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, what: str) -> None:
        self.left -= 1
        if self.left == -1:
            raise OSError(105, "No buffer space available")
