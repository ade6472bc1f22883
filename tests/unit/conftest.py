"""Unit tests: pure functions, no I/O. Hypothesis tries the same examples every time, so that CI is deterministic."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit",
    max_examples=100,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("unit")
