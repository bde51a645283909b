"""How properties draw their examples: the same ones each time, unless asked otherwise.

`make test` judges a change, so it must not fail of an example that nobody had drawn before;
`make test PYTEST_OPTIONS=--hypothesis-profile=drawn` looks for new ones.
"""

from hypothesis import settings

settings.register_profile("fixed", derandomize=True, database=None)
settings.register_profile("drawn", derandomize=False, print_blob=True)
settings.load_profile("fixed")
