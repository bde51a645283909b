"""Options that belong together keep their order, and come as one; what a command makes of many is what was said."""

from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from click.testing import CliRunner

from archipel.cli import agents, update
from archipel.cli.grouped import as_one, together
from archipel.cli.lab_blobs import Stored
from archipel.cli.lab_blobs import stored_options as stored
from archipel.cli.lab_directory import Asked
from archipel.cli.lab_directory import directory_options as directory
from archipel.cli.lab_leading import Door
from archipel.cli.lab_leading import door_options as door
from archipel.cli.lab_pages import Shown
from archipel.cli.lab_pages import page_options as pages
from archipel.cli.serve_meter import Meter
from archipel.cli.serve_shared import how_loaded
from archipel.node.settings import NodeSettings


class Pair(NamedTuple):
    one: int
    two: str


PAIR = as_one("pair", Pair, click.option("--one", type=int), click.option("--two", default="x"))


def said(*options: Any, words: str = "") -> dict[str, Any]:
    """What a command with these options is told by these words."""
    told: list[dict[str, Any]] = []

    @click.command()
    @together(*options)
    def command(**given: Any) -> None:
        told.append(given)

    outcome = CliRunner().invoke(command, words.split())
    if outcome.exit_code:
        raise ValueError(outcome.output)
    return told[0]


def test_options_come_as_one_beside_others_and_in_their_order() -> None:
    options = (click.option("--first"), PAIR, click.option("--last"))
    assert said(*options, words="--last z --one 3") == {
        "first": None,
        "last": "z",
        "pair": Pair(3, "x"),
    }

    @click.command()
    @together(*options)
    def command(**given: Any) -> None: ...

    assert [each.name for each in command.params] == ["first", "one", "two", "last"]


def test_what_is_refused_while_options_are_made_one_is_a_mistake_in_usage(tmp_path: Path) -> None:
    alone = tmp_path / "lab.pem"
    alone.touch()
    with pytest.raises(ValueError, match="belong together"):
        said(door, words=f"--tls-cert {alone}")


def test_a_labs_options_are_where_it_listens_what_it_keeps_and_what_it_shows() -> None:
    assert said(door, words="--host ::1 --port 0")["door"] == Door("::1", 0, None, None)
    assert said(door)["door"] == Door("127.0.0.1", 8440, None)
    address = said(door, words="--address https://lab.example/")["door"]
    assert (address.address, address.told) == ("https://lab.example", "https://lab.example")
    kept = said(stored, words="--ledger a --blobs b --max-store-gb 2")
    assert kept == {"stored": Stored("a", "b", 2.0)}
    assert said(pages, words="--no-pages") == {"shown": None}
    assert said(pages, words="--releases r") == {"shown": Shown(Path("r"))}
    asked = said(directory, words="--know https://one.example --know-every 5")
    assert asked == {"asked": Asked(("https://one.example",), 5.0)}


def test_a_trusted_role_is_set_up_as_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[NodeSettings, int | None, bool]] = []
    monkeypatch.setattr(agents, "run_agent", lambda *given: ran.append(given))
    words = (
        f"join http://127.0.0.1:8440 --home {tmp_path} --threads 3 --kinds evaluate,audit --ranks 2 --quiet --any-recipe "
        f"--max-memory-gb 2 --give-up 7 --metrics-port 9 --secrets s --readable {tmp_path} --turns-network"
    )
    assert CliRunner().invoke(update.command, words.split()).exit_code == 0
    ((settings, port, is_quiet),) = ran
    assert (port, is_quiet, settings.kinds) == (9, True, ("evaluate", "audit"))
    assert (settings.threads, settings.give_up_s, settings.max_memory_bytes) == (3, 7.0, 2 * 2**30)
    assert (settings.home, settings.secrets, settings.ranks.here) == (tmp_path, Path("s"), 2)
    assert settings.any_recipe
    assert settings.turns_network
    assert tmp_path.resolve() in settings.readable
    assert settings.environment["OMP_NUM_THREADS"] == "3"
    assert "ONEDNN_PRIMITIVE_CACHE_CAPACITY" in settings.environment
    wrong = CliRunner().invoke(update.command, ["join", "http://127.0.0.1:8440", "--kinds", "rollout"])  # fmt: skip
    assert wrong.exit_code == 2
    assert "expected some of update, merge, evaluate, audit" in wrong.output


@pytest.mark.parametrize(
    ("given", "is_promised"),
    [({}, False), ({"deterministic": True}, True), ({"sign": True}, True), ({"exact": "w12a13"}, True)],
)  # fmt: skip
def test_whoever_signs_or_is_exact_answers_alike_too(
    given: dict[str, Any], is_promised: bool
) -> None:
    loaded = {"threads": 1, "max_cache_gb": 0.5, "weights": "auto", "draft": "prompt"}
    how = how_loaded("m", 5, loaded | given)
    assert (how.name, how.usual_tokens, how.draft) == ("m", 5, "prompt")
    assert (how.is_deterministic, how.exact) == (is_promised, given.get("exact"))


@pytest.mark.parametrize(
    ("meter", "beside", "why"),
    [
        (Meter(None, 5, None), {}, "give --meter DIR"),
        (Meter(None, 0, 1.0), {}, "give --meter DIR"),
        (Meter(Path("m"), 10**19, None), {}, "is at most"),
        (Meter(Path("m"), 0, None), {"law": Path("a")}, "counts for one model"),
    ],
)
def test_a_meter_that_could_not_count_is_refused(
    meter: Meter, beside: dict[str, Path], why: str
) -> None:
    with pytest.raises(click.UsageError, match=why):
        meter.check(beside)
    Meter(None, 0, None).check({"law": Path("a")})
