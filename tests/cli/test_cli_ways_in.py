"""What a person is told who has started something: addresses that hold, and what will be refused."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from archipel.cli.chat_served import settings_of
from archipel.cli.serve_open import Opening, _say_ways_in
from archipel.cli.serve_pool_running import Wanted, _say_how_to_join
from archipel.serve.access import Access


def test_a_length_that_nobody_asked_for_is_left_to_the_server() -> None:
    assert settings_of(None, None, 0.0, 0, ()) == {"temperature": 0.0, "seed": 0}
    said = settings_of("one", 5, 0.0, 0, ("end",))
    assert (said["model"], said["max_tokens"], said["stop"]) == ("one", 5, ["end"])


def test_who_serves_is_told_of_the_page_and_of_models_that_take_no_messages(capsys: Any) -> None:
    opening = Opening(cast("Any", None), "http://127.0.0.1:8450", Access(), None, 60.0, None)
    kinds = {"talks": SimpleNamespace(chat_template="{{ x }}")}
    _say_ways_in(opening, cast("Any", kinds))
    shown = capsys.readouterr().out
    assert "open http://127.0.0.1:8450 in a browser" in shown
    assert "OPENAI_BASE_URL=http://127.0.0.1:8450/v1 OPENAI_API_KEY=none" in shown
    assert "template" not in shown
    _say_ways_in(opening, cast("Any", kinds | {"goes-on": SimpleNamespace(chat_template=None)}))
    assert "no chat template in goes-on:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", "--pool-host 0.0.0.0"), ("192.0.2.7", "another device")]
)
def test_an_address_of_this_machine_is_not_offered_to_another(
    capsys: Any, host: str, expected: str
) -> None:
    wanted = Wanted("small", cast("Any", None), (host, 8460), "float32", 1, 1)
    _say_how_to_join(
        cast("Any", SimpleNamespace(address=(host, 8460), invite=lambda: "CODE")), wanted
    )
    assert expected in capsys.readouterr().out.splitlines()[0]
