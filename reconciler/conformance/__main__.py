"""`python -m reconciler.conformance NAME [PYTEST OPTIONS]`: try a driver."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from .subject import ISOLATED

_HOST = """
mount -t tmpfs tmpfs /run
mount -t sysfs sysfs /sys
ip link set lo up
for number in 0 1; do
    ip link add eth$number type veth peer name up$number
    ip link set eth$number up
    ip link set up$number up
done
ip address add 192.0.2.10/24 dev eth0
ip route add default via 192.0.2.1
exec "$@"
"""
"""What makes a host of new namespaces, as `reconciler.conformance.hosts.new_host` is one in memory."""


def main(arguments: Sequence[str]) -> int:
    """Run the suite and return pytest's exit code: 0 passed, 1 failed, others that it did not run."""
    if missing := [name for name in ("pytest", "hypothesis") if find_spec(name) is None]:
        print(f"error: {' and '.join(missing)} is not there; pip install 'netapply[conformance]'", file=sys.stderr)
        return 69
    if not arguments or arguments[0].startswith("-"):
        print("usage: python -m reconciler.conformance NAME [PYTEST OPTIONS]", file=sys.stderr)
        return 64
    if "--netapply-kernel" in arguments and not os.environ.get(ISOLATED):
        os.environ[ISOLATED] = "1"
        again = [sys.executable, "-m", "reconciler.conformance", *arguments]
        os.execvp("unshare", ["unshare", "--net", "--mount", "sh", "-ec", _HOST, "sh", *again])
    import pytest

    name, *more = arguments
    here = Path(__file__).parent
    files = [here / "test_driver.py", *([here / "test_kernel.py"] if "--netapply-kernel" in more else [])]
    alone = ["--rootdir", str(here), "-c", "/dev/null", "-p", "no:cacheprovider", "--import-mode=importlib"]
    plugin = ["-p", "reconciler.conformance.plugin", "--netapply-driver", name]
    return int(pytest.main([*alone, *plugin, "-q", "--tb=short", *more, *map(str, files)]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
