"""Settings that all tests share."""

from hypothesis import settings

# A busy machine is slow now and then, and a test that fails for that says nothing about the code.
settings.register_profile("quick", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=3000)  # pytest --hypothesis-profile=thorough
settings.load_profile("quick")
