"""What all tests share: Hypothesis' profile."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

from .machine import IN_VM

pytest.register_assert_rewrite("tests.hosts")  # so that a failing fixture says what differs

# Time limits are the runner's business: a busy machine must not fail a property. In CI the examples are the same
# each time, so that what fails there fails here. Examples of a kernel test make hosts of their own where they need to.
unconcerned = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)
settings.register_profile("here", deadline=None, suppress_health_check=unconcerned)
# They are half as many, since to run the same ones again proves nothing new.
settings.register_profile("ci", parent=settings.get_profile("here"), derandomize=True, print_blob=True, max_examples=50)
# In the VM a failing example is not made smaller, which would take longer than the rest of the tests together.
found = (Phase.explicit, Phase.reuse, Phase.generate)
settings.register_profile("vm", parent=settings.get_profile("ci"), phases=found)
settings.load_profile("vm" if IN_VM else "ci" if os.environ.get("CI") else "here")
