"""Settings that all tests share."""

from hypothesis import settings

# A busy machine is slow now and then, and a test that fails for that says nothing about the code.
settings.register_profile("qmp_exporter", deadline=None)
settings.load_profile("qmp_exporter")
