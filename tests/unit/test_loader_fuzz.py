"""Whatever is in a file: loading it returns a manifest or says what is wrong, and nothing else happens.

10,000 inputs in all; a Hypothesis profile with max_examples=1000 makes it ten times as many.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.drivers import built_in
from reconciler.errors import ManifestError
from reconciler.manifest import load
from reconciler.manifest.model import Manifest

ROOT = Path(__file__).parents[2]
SEED = """\
version: 1
project: ${NAME:-shop}
x-common: &common {labels: {tier: web, on: yes, port: 53:53}}
default_address_pools: [{base: 10.128.0.0/9, size: 24}]
networks:
  front:
    driver_opts: {name: br0, icc: off}
    ipam: {config: [{subnet: 10.20.0.0/24, gateway: 10.20.0.1, ip_range: 10.20.0.128/25}, {subnet: "fd00::/64"}]}
    allow: [back]
    routes: [{destination: 10.9.0.0/16, via: 10.20.0.7}]
  back: {protect: true}
  lan: {driver: macvlan, driver_opts: {mode: bridge, parent: eth0}}
containers:
  web:
    <<: *common
    sandbox: {netns: web}
    networks:
      front: {ipv4_address: 10.20.0.10, ipv6_address: "fd00::a", mac_address: 02:42:00:00:00:11, gw_priority: 1}
      lan:
  api: {networks: [front, back], sandbox: {pid: 4242}}
"""


def blocks(file: Path) -> Iterator[str]:
    """Yield the manifests of a page, which are in blocks of YAML, as a whole or in parts."""
    for block in re.findall(r"```yaml\n(.*?)```", file.read_text(), re.DOTALL):
        yield block if re.search(r"^project:", block, re.MULTILINE) else f"project: p\n{block}"


SEEDS = [
    SEED,
    *(file.read_text() for file in sorted((ROOT / "manifests").glob("*.yaml"))),
    *(block for file in sorted((ROOT / "docs").rglob("*.md")) for block in blocks(file)),
]
"""Manifests with all words that there are, and parts of some."""

WORDS = sorted({*SEED.replace(":", " ").split(), ":", "- ", "&a", "*a", "<<: *a", "!!str", "${", "${X:-", "---", "\t"})
TOKEN = re.compile(r"[\w./:%-]+")
TOKENS = sorted({word for seed in SEEDS for word in TOKEN.findall(re.sub("#.*", "", seed))})
ODD = [
    *("-1", "0", "99999999999999999999", "1e400", ".nan", "[]", "{}", "null", "''", "[1, [2]]", "{a: b}", "true", "::"),
    *("1.5", "0.0.0.0", "::ffff:1.2.3.4", "fe80::1%eth0", "2001:db8::/129", "10.0.0.0/33", '"\\0"', "*x", "&x 1", "é"),
]

many = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)


def inputs(count: int) -> settings:
    """Return how many inputs to try: so many, and more where the profile says more than 100, Hypothesis' default."""
    return settings(many, max_examples=max(count, count * many.max_examples // 100))


def outcome(text: str) -> Manifest | ManifestError:
    """Return what loading gives; an error must show a place in the text for each problem."""
    try:
        return load(["-"], {"NAME": "shop"}, io.StringIO(text))
    except ManifestError as failure:
        caught = failure
    assert caught.problems
    for position, what, mend in caught.problems:
        assert position.file == "-"
        assert position.line >= 1
        assert position.column >= 1
        assert (what + mend).isprintable()
        assert len(what) < 600
        caught.line_of(position)
    return caught


@inputs(1000)
@given(st.binary(max_size=200))
def test_random_bytes(tmp_path_factory: Any, data: bytes) -> None:
    file = Path(tmp_path_factory.getbasetemp()) / "fuzz.yaml"
    file.write_bytes(data)
    with contextlib.suppress(ManifestError):
        load([str(file)], {})


@inputs(1500)
@given(st.text(max_size=100))
def test_random_text(text: str) -> None:
    outcome(text)


@inputs(1500)
@given(st.lists(st.sampled_from([*WORDS, "\n", "\n  ", " ", ", ", "{", "}", "[", "]", '"', "'", "#"]), max_size=40))
def test_random_words_of_a_manifest(words: list[str]) -> None:
    outcome("".join(words))


@inputs(1300)
@given(st.randoms(use_true_random=False), st.sampled_from(SEEDS), st.integers(1, 4))
def test_a_manifest_with_words_put_in_others_places(chance: random.Random, text: str, times: int) -> None:
    for _ in range(times):
        if not (places := list(TOKEN.finditer(text))):
            break
        place, other = chance.choice(places), chance.choice(places)
        new = chance.choice(["", other.group(), other.group(), *chance.choices(TOKENS, k=3), chance.choice(ODD)])
        text = text[: place.start()] + new + text[place.end() :]
    outcome(text)


@inputs(2700)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_a_manifest_with_letters_and_words_changed(chance: random.Random, times: int) -> None:
    text = SEED
    for _ in range(times):
        start = chance.randrange(len(text))
        end = start + chance.choice([0, 1, 1, 5, 20])
        new = chance.choice(
            ["", chance.choice(WORDS), chr(chance.choice([0, 9, 10, 32, 58, 123, 233, 0x2028, 0x1F600]))]
        )
        text = text[:start] + new + text[end:]
    outcome(text)


DOCUMENT = yaml.safe_load(SEED)
KEYS = st.sampled_from(sorted({word for word in WORDS if word.isidentifier()} | {"subnet", "x-a", "<<", "aliases"}))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(WORDS), st.dates()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=8,
)


@inputs(1000)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_random_structures(document: dict[str, Any]) -> None:
    outcome(json.dumps({"project": "p", **document}, default=str))


PATHS = [
    ("networks", "front", "ipam", "config", 0, "subnet"), ("networks", "front", "ipam", "config", 1),
    ("networks", "front", "routes", 0, "via"), ("networks", "front", "routes"), ("networks", "lan", "driver_opts"),
    ("networks", "front", "driver_opts", "name"), ("networks", "back"), ("networks", "front", "allow"),
    ("containers", "web", "networks", "front"), ("containers", "web", "networks", "front", "ipv4_address"),
    ("containers", "web", "sandbox"), ("containers", "api", "networks"), ("default_address_pools", 0, "base"),
]  # fmt: skip


@inputs(1000)
@given(st.lists(st.tuples(st.sampled_from(PATHS), VALUES), min_size=1, max_size=2))
def test_a_manifest_with_values_changed(changes: list[tuple[tuple[str | int, ...], Any]]) -> None:
    document: Any = copy.deepcopy(DOCUMENT)
    for path, value in changes:
        with contextlib.suppress(KeyError, IndexError, TypeError):  # an earlier change has taken the place away
            _parent(document, path)[path[-1]] = value
    outcome(json.dumps(document, default=str))


def _parent(node: Any, path: tuple[str | int, ...]) -> Any:
    for step in path[:-1]:
        node = node[step]
    return node


def test_the_manifest_that_is_changed_is_right_itself() -> None:
    assert isinstance(outcome(SEED), Manifest)


def test_the_manifests_that_are_changed_have_what_there_is() -> None:
    whole = "\n".join(SEEDS)
    words = (
        "ports:",
        "services:",
        "hosts:",
        "dns:",
        "bandwidth:",
        "coexist:",
        *(f"driver: {one}" for one in built_in()),
    )
    assert [word for word in words if word not in whole and word != "driver: bridge"] == []
    assert sum(isinstance(outcome(text), Manifest) for text in SEEDS) > len(SEEDS) // 2
