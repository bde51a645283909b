"""The measurement of replays, as it is called."""

import pytest

from cli_words import told


@pytest.mark.slow
def test_a_quick_measurement_finds_every_lie_and_nobody_else() -> None:
    code, found = told("bench", "replays", "--quick", "--json")
    assert code == 0
    honest, *lies = found["caught"]
    assert (honest["lie"], honest["what"], honest["apart_nano"]) == ("honest", "", 0)
    assert len(lies) == 12
    assert all(each["what"] for each in lies)
    assert found["nearest_lie"] > 0.1 > found["distance"]
