"""docs/manifest.md is true: every key of the schema is in it, and every example loads."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.manifest import load
from reconciler.manifest.core import CORE
from reconciler.manifest.source import MAX_BYTES
from reconciler.manifest.tree import MAX_DEPTH, MAX_NODES

TEXT = (Path(__file__).parents[2] / "docs" / "manifest.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_loads(example: str) -> None:
    assert load(["-"], {}, io.StringIO(example)).networks


def _keys(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for one in schema.values():
            yield from _keys(one)


def test_every_key_is_described_and_shown_in_an_example() -> None:
    keys = set(_keys(CORE))
    assert {key for key in keys if f"`{key}`" not in TEXT} == set()
    shown = "\n".join(EXAMPLES)
    never = {"enable_ipv4", "metric"}  # their tables say it all
    assert {key for key in keys - never if not re.search(rf"\b{key}:", shown)} == set()


def test_the_limits_are_those_of_the_code() -> None:
    assert f"{MAX_BYTES // 1024 // 1024} MiB at most" in TEXT
    assert f"{MAX_NODES:,} values once aliases are expanded, nested {MAX_DEPTH} deep" in TEXT
