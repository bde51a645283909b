"""The Open Source AI Definition 1.0 as a checklist, answered from what bytes show.

Source: opensource.org/ai/open-source-ai-definition (1.0, October 2024): the freedoms to use, study, modify and share,
and the preferred form to make modifications (data information, code, parameters); its components as in the OSI's
checklist, which goes by the Model Openness Framework. Law: whether information is enough for a skilled person to
build a substantially equivalent system is for a person to judge, unless somebody has rebuilt it.
"""

from collections.abc import Mapping
from typing import Literal

from archipel.release.openness import mof
from archipel.release.openness.card import Check, PartCard
from archipel.release.openness.licences import terms

Cards = Mapping[str, PartCard]
About = Literal["data information", "code", "parameters", "freedoms"]
_CODE = (
    ("code that processes and filters data", (mof.PREPROCESSING,)),
    ("code that trains, validates and tests", (mof.TRAINING_CODE, mof.EVALUATION_CODE)),
    ("code that infers", (mof.INFERENCE_CODE,)),
    ("supporting libraries and tools", (mof.LIBRARIES,)),
    ("the model's architecture", (mof.ARCHITECTURE,)),
)


def checklist(cards: Cards) -> tuple[Check, ...]:
    """One line for each thing that the definition asks for. cards: by the framework's names."""
    code = [_asked("code", asks, parts, cards) for asks, parts in _CODE]
    parameters = [
        _asked(
            "parameters",
            "the weights, under terms that give the four freedoms",
            (mof.PARAMETERS,),
            cards,
        )
    ]
    data = _data(cards)
    return (*data, *code, *parameters, _freedoms(cards))


def is_open_source(checks: tuple[Check, ...]) -> Literal["yes", "no", "a person must judge"]:
    """Of the whole."""
    answers = {each.answer for each in checks}
    if "not met" in answers:
        return "no"
    return "a person must judge" if "a person must judge" in answers else "yes"


def _asked(about: About, asks: str, parts: tuple[str, ...], cards: Cards) -> Check:
    """All of the parts, each present and under an OSI-approved licence (weights: an open one)."""
    lacking = [name for name in parts if not _is_given(cards[name], about)]
    why = "; ".join(f"{name}: {_lack(cards[name])}" for name in lacking) or "present, and open"
    answer: Literal["met", "not met"] = "not met" if lacking else "met"
    return Check(about=about, asks=asks, answer=answer, why=why[:500])


def _is_given(card: PartCard, about: About) -> bool:
    if not card.counts or card.licence is None:
        return False
    known = terms(card.licence)
    return known.is_osi_approved or known.is_open if about == "parameters" else _is_code_open(card)


def _is_code_open(card: PartCard) -> bool:
    known = terms(card.licence or "")
    return known.is_osi_approved or (known.is_open and "code" in known.types)


def _data(cards: Cards) -> list[Check]:
    told = [name for name in (mof.DATA_CARD, mof.REPORT, mof.PAPER) if cards[name].counts]
    data = cards[mof.DATASETS]
    listed = Check(
        about="data information",
        asks="a description of all training data, where they come from, how they were chosen and processed",
        answer="met" if told else "not met",
        why=f"told in: {', '.join(told)}" if told else "no data card, report or paper counts",
    )
    if data.level == "reproduced":
        enough: Literal["met", "not met", "a person must judge"] = "met"
        why = "somebody rebuilt the system from it"
    elif told:
        enough, why = "a person must judge", "nobody rebuilt the system from it here"
    else:
        enough, why = "not met", "nothing is told"
    skilled = Check(
        about="data information",
        asks="enough for a skilled person to build a substantially equivalent system",
        answer=enough,
        why=why,
    )
    where = Check(
        about="data information",
        asks="the data that can be shared, or where to get them",
        answer="met" if data.counts else "a person must judge" if told else "not met",
        why="they lie in the folder, open" if data.counts else _lack(data),
    )
    return [listed, skilled, where]


def _freedoms(cards: Cards) -> Check:
    asked = [mof.PARAMETERS, mof.ARCHITECTURE, mof.INFERENCE_CODE]
    lacking = [name for name in asked if not cards[name].counts]
    return Check(
        about="freedoms",
        asks="to use, study, modify and share the system, for any purpose, without asking",
        answer="not met" if lacking else "met",
        why=(
            f"not open: {', '.join(lacking)}"
            if lacking
            else "what it takes to run it is here under open licences"
        ),
    )


def _lack(card: PartCard) -> str:
    if card.level == "absent":
        return "absent"
    if card.level == "stated":
        return "stated, and not shown"
    return card.why[-1] if card.why else "its licence does not count"
