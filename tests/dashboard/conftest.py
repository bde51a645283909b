"""What tests of the dashboard share: the newest kept ledger, folded and told."""

import pytest

from tellings import Telling, golden_telling


@pytest.fixture(scope="session")
def golden() -> Telling:
    """A ledger with every kind of statement."""
    return golden_telling()
