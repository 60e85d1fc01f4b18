"""Values are equal, hashed, shown and replaced as frozen dataclasses are; that nobody sets a field, mypy checks."""

from __future__ import annotations

import dataclasses

import pytest

from reconciler.values import dataclass, field


@dataclass(frozen=True, slots=True)
class Port:
    number: int
    name: str = ""
    seen: list[str] = field(default_factory=list, compare=False, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    number: int
    name: str = ""
    seen: list[str] = dataclasses.field(default_factory=list, compare=False, repr=False)


@pytest.mark.parametrize("other", [(80, "web", ["x"]), (81, "web", []), (80, "", [])])
def test_what_counts_is_what_counts_for_a_frozen_dataclass(other: tuple[int, str, list[str]]) -> None:
    one, model = Port(80, "web"), Model(80, "web")
    same = model == Model(*other)
    assert (one == Port(*other)) == same
    assert ({one, Port(*other)} == {one}) == same
    assert one.__eq__(model) is NotImplemented
    assert repr(one) == repr(model).replace("Model", "Port")
    assert dataclasses.replace(one, number=81) == Port(81, "web")
    assert not hasattr(one, "__dict__")


def test_mypy_refuses_to_set_a_field() -> None:
    one = Port(80)
    one.number = 81  # type: ignore[misc] # an ignore that is not needed is an error of its own
    assert one == Port(81), "there is no guard at run time: decision 019"
