"""What all tests share: Hypothesis' profile."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Time limits are the runner's business: a busy machine must not fail a property. In CI the examples are the same
# each time, so that what fails there fails here.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("here"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
