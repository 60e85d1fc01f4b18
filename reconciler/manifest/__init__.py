"""Manifests: from YAML files to checked values that know where they were said."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TextIO

from .model import Manifest


def load(paths: Sequence[str], environ: Mapping[str, str] = os.environ, stdin: TextIO | None = None) -> Manifest:
    """Return what the files, the folders' *.yaml and *.yml, and standard input ("-") declare together.

    `environ` holds the variables that values may use. Raises ManifestError with every problem that was found.
    """
    from .loading import load  # PyYAML takes 40 ms to import, which commands without a manifest need not wait for

    return load(paths, environ, stdin)
