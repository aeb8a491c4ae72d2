"""Property tests fail for what a change broke: no deadline, and the same examples at every run."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "kith",
    deadline=None,  # a busy machine is no failure
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
settings.load_profile("kith")
