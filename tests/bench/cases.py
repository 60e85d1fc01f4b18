"""What is measured: each case returns rows for the table."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.machine import Machine, machine

from . import workload
from .measure import NETAPPLY, Cost, cost, median, repeated, settle
from .monitor import notifications
from .phases import GONE_BY

ROUNDS = 3
"""How often what takes seconds is measured; the median counts."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. `value` must not exceed `target`, or, `at_least`, not fall short of it. None: it informs."""

    what: str
    measured: str
    value: float | None = None
    target: float | None = None
    unit: str = ""
    peers: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        if self.value is None or self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclass(frozen=True, slots=True)
class Bench:
    """An isolated host with an empty folder for files, for one measurement."""

    host: Machine
    folder: Path

    def manifest(self, text: str) -> str:
        path = self.folder / "manifest.yaml"
        path.write_text(text)
        return str(path)


@contextmanager
def bench() -> Iterator[Bench]:
    """Run the block on a fresh isolated host, once the kernel is done with the one of before."""
    settle()
    with machine() as host, tempfile.TemporaryDirectory() as folder:
        yield Bench(host, Path(folder))


def start_up() -> Iterator[Row]:
    """The command that does nothing, and a small plan without a change."""
    nothing = repeated(20, [sys.executable, "-c", "pass"])
    version = repeated(20, [NETAPPLY, "--version"])
    yield Row(
        "netapply --version",
        f"{_ms(version)}; python -c pass {_ms(nothing)}",
        version.wall / nothing.wall,
        2.0,
        "x python",
    )
    with bench():
        file = "manifests/voting-app.yaml"
        cost([NETAPPLY, file])
        small = repeated(10, [NETAPPLY, "plan", "--detailed-exitcode", file])
    peers = "nmstate 1.1 s, ifreload 0.39 s, compose 1.36 s, ansible 7.4 s"
    yield Row("plan of a small manifest, no change", _ms(small), small.wall * 1000, 150, "ms", peers)


def existing_namespaces(endpoints: int = 100) -> Iterator[Row]:
    """W100 into namespaces that are there already, against a process for each command."""
    ours, within, batched, single = [], [], [], []
    ruleset = ""
    for _ in range(ROUNDS):
        with bench() as here:
            _namespaces(here, endpoints)
            ours.append(cost([NETAPPLY, here.manifest(workload.manifest(endpoints, sandbox="netns"))]))
            ruleset = here.host.run(f"nft list table inet netapply-{workload.PROJECT}", check=False).stdout
        with bench() as here:
            _namespaces(here, endpoints)
            within.append(phases(here.manifest(workload.manifest(endpoints, sandbox="netns")))["elapsed"])
        with bench() as here:
            _namespaces(here, endpoints)
            batched.append(_script_cost(workload.batches(endpoints, here.folder, ruleset, existing=True)))
        with bench() as here:
            _namespaces(here, endpoints)
            single.append(_script_cost(workload.single_commands(endpoints, here.folder, ruleset)))
    mine, batch, one = median(ours), median(batched), median(single)
    measured = f"{_ms(mine)}; ip {_ms(one)}, ip -batch {batch.wall / one.wall:.2f} x"
    peers = "ip -batch 0.14, CNI 2.1-8.3, Docker 3.2-7.6, Podman 9.5"
    yield Row("W100 into existing namespaces", measured, mine.wall / one.wall, 0.15, "x ip", peers)
    built = statistics.median(within)
    yield Row("  of it from observing to verified", _ms(built), built / one.wall, 0.15, "x ip")


class Round(NamedTuple):
    """One W(N) from nothing to nothing. `phases` are CPU seconds, `writes` and `seen` count notifications."""

    applied: Cost
    idle: Cost
    phases: dict[str, float]
    repaired: Cost
    destroyed: Cost
    writes: int
    seen: int
    ruleset: str


def from_clean(endpoints: int = 1000) -> Iterator[Row]:
    """W1000 from nothing, doing nothing, repairing and removing."""
    rounds, batched = [], []
    one_by_one: Cost | None = None
    for _ in range(ROUNDS):
        rounds.append(_round(endpoints))
        with bench() as here:
            batched.append(_script_cost(workload.batches(endpoints, here.folder, rounds[-1].ruleset)))
            if one_by_one is None:  # once: it takes long
                one_by_one = _script_cost(workload.removal(endpoints, here.folder))
    assert one_by_one is not None
    yield from _rows(endpoints, rounds, median(batched), one_by_one)


def _round(endpoints: int) -> Round:
    names = [workload.sandbox_name(one) for one in range(endpoints)]
    with bench() as here:
        file = here.manifest(workload.manifest(endpoints))
        applied = cost([NETAPPLY, file])
        ruleset = here.host.run("nft list ruleset").stdout
        idle = repeated(5, [NETAPPLY, file])
        with notifications(names) as writes:
            cost([NETAPPLY, file])
        steps = phases(file)
        with notifications(names) as seen:
            repaired = repeated(5, [NETAPPLY, file], before=partial(_break_a_link, here.host))
        destroyed = cost([NETAPPLY, "destroy", file])
        if here.host.names():
            raise AssertionError("destroy left namespaces")
        if not seen.total():
            raise AssertionError("the monitor saw nothing of a repair: it can't be trusted")
    return Round(applied, idle, steps, repaired, destroyed, writes.total(), seen.total(), ruleset)


def _rows(endpoints: int, rounds: list[Round], batch: Cost, one_by_one: Cost) -> Iterator[Row]:
    mine = median([one.applied for one in rounds])
    peers = "C with raw netlink 0.19, pyroute2 0.9"
    measured = f"{_s(mine)}; ip -batch {_s(batch)}"
    yield Row(f"W{endpoints} from clean", measured, mine.wall / batch.wall, 0.25, "x ip -batch", peers)
    yield Row("  of it the kernel's own time", _s(mine.system), mine.wall / mine.system, 2.0, "x kernel")
    yield Row("  of it user time", _s(mine.user), mine.user, 0.5, "s")
    yield Row("  peak memory", f"{mine.memory:.0f} MiB", mine.memory, 60, "MiB", "Docker daemon > 100 MB, always")

    none = median([one.idle for one in rounds])
    what = f"W{endpoints} no-op, cold start to exit"
    yield Row(what, _ms(none), none.wall * 1000, 450, "ms", "ip -j in each: seconds")
    phases = {name: statistics.median(one.phases[name] for one in rounds) for name in rounds[0].phases}
    words = ", ".join(
        f"{name} {seconds * 1000:.0f}" for name, seconds in phases.items() if seconds >= 0.0005 and name not in GONE_BY
    )
    yield Row("  of it observing", f"cpu of the steps: {words} ms", phases["observed"] * 1000, 150, "ms")
    writes, seen = sum(one.writes for one in rounds), sum(one.seen for one in rounds)
    yield Row("  writes, by rtnetlink and nftables", f"{writes} notifications ({seen} of the repairs)", writes, 0)

    mend = median([one.repaired for one in rounds])
    extra = (mend.wall - none.wall) * 1000
    yield Row("one drifted link repaired", f"{_ms(mend)}; no-op {extra:+.0f} ms", extra, 5, "ms over no-op")

    gone = median([one.destroyed for one in rounds])
    measured = f"{_s(gone)}; one by one {_s(one_by_one)}"
    yield Row(f"W{endpoints} destroy", measured, gone.wall, 1.3, "s", "one by one 19 s")
    yield Row("  against one by one", "", gone.wall / one_by_one.wall, 0.1, "x ip")


def growth(small: int = 1000, large: int = 4000) -> Iterator[Row]:
    """How the cost grows with the number of endpoints."""
    costs: dict[int, tuple[Cost, Cost]] = {}
    for endpoints in (small, large):
        rounds = []
        for _ in range(ROUNDS):
            with bench() as here:
                file = here.manifest(workload.manifest(endpoints))
                rounds.append((cost([NETAPPLY, file]), repeated(3, [NETAPPLY, file])))
        costs[endpoints] = (median([one for one, _ in rounds]), median([two for _, two in rounds]))
    for what, place, target in (("apply", 0, 9.0), ("no-op", 1, 4.5)):
        few, many = costs[small][place], costs[large][place]
        measured = f"{_s(few)} to {_s(many)}"
        yield Row(f"growth W{large}/W{small}, {what}", measured, many.wall / few.wall, target, "x")


def _namespaces(here: Bench, endpoints: int) -> None:
    names = map(workload.sandbox_name, range(endpoints))
    here.host.run("ip -batch -", stdin="".join(f"netns add {name}\n" for name in names))


def _script_cost(script: workload.Script) -> Cost:
    return cost(["sh", str(script.main)])


def _break_a_link(host: Machine) -> None:
    """Delete the outer end of one endpoint's veth pair."""
    mark = f"netapply:{workload.PROJECT}/{workload.sandbox_name(7)}/"
    found = [link["ifname"] for link in json.loads(host.run("ip -j link").stdout) if mark in link.get("ifalias", "")]
    host.run(f"ip link delete {found[0]}")


def phases(file: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.phases", file]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return {name: float(seconds) for name, seconds in json.loads(done.stdout).items()}


def _ms(figure: Cost | float) -> str:
    if isinstance(figure, Cost):
        return f"{figure.wall * 1000:.0f} ms (cpu {figure.cpu * 1000:.0f})"
    return f"{figure * 1000:.0f} ms"


def _s(figure: Cost | float) -> str:
    if isinstance(figure, Cost):
        return f"{figure.wall:.2f} s (cpu {figure.cpu:.2f})"
    return f"{figure:.2f} s"
