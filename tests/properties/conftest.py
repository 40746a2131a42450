"""Property tests draw the same examples each time: a test of the suite never fails by chance. No promise is about their speed."""

from hypothesis import settings

settings.register_profile("suite", derandomize=True, deadline=None, max_examples=150)
settings.load_profile("suite")
