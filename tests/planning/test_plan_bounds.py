"""What nobody can have meant is refused with the nearest that works; what is left never ends in nan or a crash."""

import importlib
import warnings
from dataclasses import replace

import pytest

from archipel.planning.answering import Setting, answer
from archipel.planning.asking import Ask
from archipel.planning.mistakes import CannotPlan, Impossible
from archipel.planning.questions.bounds import ACCELERATORS, PARAMS, bounded
from archipel.planning.requests import REQUESTS
from archipel.planning.tables import shelf


def _mistake(question: str, **options: str) -> str:
    with pytest.raises(CannotPlan) as caught:
        Ask(question, REQUESTS[question](**options)).plan()
    return str(caught.value)


ABSURD = [
    ("train", {"params": "8"}, "--params"),
    ("train", {"params": "1e30"}, "--params"),
    ("train", {"budget": "1e24 USD"}, "--budget"),
    ("train", {"params": "8B", "count": "1.5"}, "--count"),
    ("train", {"sequence": "1e12"}, "--sequence"),
    ("train", {"tensor_parallel": "1e9"}, "--tensor-parallel"),
    ("train", {"loss": "1e30"}, "--loss"),
    ("train", {"like": "1.5"}, "--like"),
    ("decentralise", {"sites": "1.5"}, "--sites"),
    ("decentralise", {"tokens": "1e30"}, "--tokens"),
    ("decentralise", {"batch": "1e30"}, "--batch"),
    ("decentralise", {"steps_per_sync": "1e30"}, "--steps-per-sync"),
    ("decentralise", {"supply": "1e30"}, "--supply"),
    ("serve", {"accelerators": "0.0001"}, "--accelerators"),
    ("serve", {"batch": "1e30"}, "--batch"),
    ("serve", {"price": "1e30"}, "--price"),
    ("serve", {"electricity": "1e30"}, "--electricity"),
    ("serve", {"hosted": "1e30"}, "--hosted"),
    ("meek", {"frontier": "1e30"}, "--frontier"),
    ("lab", {"life": "1e-30"}, "--life"),
    ("lab", {"pue": "1e30"}, "--pue"),
    ("lab", {"accelerators": "8.5"}, "--accelerators"),
]


@pytest.mark.parametrize(("question", "options", "option"), ABSURD)
def test_an_absurd_amount_is_refused_with_its_range_and_the_nearest(
    question: str, options: dict[str, str], option: str
) -> None:
    message = _mistake(question, **options)
    assert message.startswith(f"{option}: got ")
    assert "from " in message
    assert "the nearest that works is " in message


def test_the_nearest_that_works_works() -> None:
    for text, bounds in (
        ("8", PARAMS),
        ("1e30", PARAMS),
        ("1.5", ACCELERATORS),
        ("0", ACCELERATORS),
    ):
        with pytest.raises(Impossible) as caught:
            bounded(text, bounds, "--x")
        near = str(caught.value).partition("the nearest that works is ")[2]
        assert bounds.least <= bounded(near, bounds, "--x") <= bounds.most


EDGES = [
    ("train", {"loss": "1.82"}),
    ("train", {"unique_tokens": "1e20"}),
    ("train", {"params": "1e16", "tokens": "1e20"}),
    ("train", {"budget": "1e15 USD"}),
    ("decentralise", {"params": "1e16", "tokens": "1e20"}),
    ("decentralise", {"bits": "0.0001", "steps_per_sync": "1e9"}),
    ("serve", {"params": "1e16"}),
    ("serve", {"batch": "1e6", "context": "1e9"}),
    ("meek", {"frontier": "1e15 USD", "budget": "1 USD"}),
    ("meek", {"threshold": "1e-9", "years": "60"}),
    ("lab", {"accelerators": "1", "kind": "h100"}),
    ("lab", {"accelerators": "1e8", "kind": "h100"}),
]


@pytest.mark.parametrize(("question", "options"), EDGES)
def test_at_the_edge_every_sentence_is_made_of_numbers(
    question: str, options: dict[str, str]
) -> None:
    plan = Ask(question, REQUESTS[question](**options)).plan()
    answer(plan, Setting(samples=20))
    said = " ".join((plan.title, plan.said(), *plan.remarks)).split()
    assert not {"nan", "inf", "$inf", "$nan", "nan%", "inf%", "∞"} & set(said)


ZEROS = [
    ("decentralise", "rental.h100"),
    ("decentralise", "accelerator.h100.memory"),
    ("decentralise", "utilisation.step"),
    ("train", "run.pythia-12b.tokens"),
    ("train", "law.flop.training"),
    ("train", "train.patience"),
    ("meek", "frontier.algorithmic.small_compute"),
    ("meek", "frontier.meek.g_h"),
    ("meek", "law.chinchilla.besiroglu.alpha"),
    ("serve", "accelerator.rtx4090.bandwidth"),
    ("lab", "lab.server_life"),
]


@pytest.mark.parametrize(("question", "name"), ZEROS)
def test_a_constant_of_nothing_never_ends_in_a_crash(question: str, name: str) -> None:
    """Even past the check of what may be set: whatever a formula makes of it, it says so in words."""
    made = shelf()
    entry = made.entries[name][-1]
    nothing = replace(entry.figure, value=0.0, low=None, high=None, also=())
    made.entries[name] = (*made.entries[name], replace(entry, figure=nothing))
    file = importlib.import_module(f"archipel.planning.questions.{question}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            answer(file.plan(REQUESTS[question](), made), Setting(samples=20))
        except CannotPlan as refused:
            assert str(refused)  # noqa: PT017  # refusing is as good as answering
    assert made.entries[name][-1].figure.value == 0.0


@pytest.mark.parametrize(
    ("question", "options", "missing"),
    [
        ("train", {"accelerator": "mine"}, ("memory", "server_size", "server_power", "tdp")),
        ("lab", {"kind": "mine"}, ("server_power",)),
        ("serve", {"hardware": "mine"}, ("bandwidth", "memory", "server_power")),
    ],
)
def test_everything_missing_of_an_own_accelerator_is_said_at_once(
    question: str, options: dict[str, str], missing: tuple[str, ...]
) -> None:
    row = {"value": 500, "unit": "TFLOP/(s*accelerator)", "kind": "assumed", "source": "a sheet"}
    own = {"accelerator": {"mine": {"bf16": row}}}
    with pytest.raises(CannotPlan) as caught:
        Ask(question, REQUESTS[question](**options), own=own).plan()
    for part in missing:
        assert f"accelerator.mine.{part}" in str(caught.value)
