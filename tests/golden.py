"""Golden files: what was told once, and is to be told again. `make golden` writes them anew; read the diff."""

from __future__ import annotations

import os
from pathlib import Path


def compare(folder: Path, name: str, told: str) -> None:
    """Compare with the golden file of that name, or with RENEW_GOLDEN write it."""
    if os.environ.get("RENEW_GOLDEN"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(told)
    assert told == (folder / name).read_text()
