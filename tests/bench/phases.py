"""How long each step of a run takes, by itself: `python -m tests.bench.phases FILE` prints CPU seconds by step as JSON,
and the seconds that went by: while observing ("observed"), and from there to verifying ("elapsed").

It applies the manifest, as netapply does, without the lock and without going back if something fails.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

STEPS: dict[str, float] = {}

GONE_BY = ("observed", "elapsed")
"""Those that are no CPU seconds."""


@contextmanager
def step(name: str) -> Iterator[None]:
    started = _spent()
    yield
    STEPS[name] = _spent() - started


def _spent() -> float:
    """Return the CPU seconds of this process, and of those that it started and that have ended."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


def main(file: str) -> None:
    """Go through the steps of `engine.converge`."""
    gc.disable()  # as the command does
    with step("import"):
        import reconciler.host.linux
        import reconciler.manifest.loading
        from reconciler.allocation.allocate import allocate
        from reconciler.engine import scope_of
        from reconciler.lowering.lower import lower
        from reconciler.placement import placed
        from reconciler.plan import diff
    with step("load"):
        manifest = reconciler.load(file)
    host = reconciler.this_host()
    manifest = placed(manifest, host)
    started = time.perf_counter()
    with step("observe"):
        observation = host.observe(scope_of(manifest))
    STEPS["observed"] = time.perf_counter() - started
    with step("allocate"):
        topology = allocate(manifest, observation)
    with step("lower"):
        desired = host.canonical(lower(topology, observation.facts))
    with step("diff"):
        plan = diff(desired, observation.state)
    with step("apply"):
        errors = [str(result.error) for result in host.apply(plan.changes) if result.error]
        host.release()
    with step("verify"):
        left = diff(desired, host.observe(scope_of(manifest)).state) if plan else ()
    STEPS["elapsed"] = time.perf_counter() - started
    if errors or left:
        raise SystemExit("\n".join(errors) or "it did not converge")
    json.dump(STEPS, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
