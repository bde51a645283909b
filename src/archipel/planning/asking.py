"""Asking: a request goes to its question's file and comes back as a plan, or as its data.

`compare` and `report` ask questions again from what a saved plan stores; the command line asks them from
its options. Law: a question's file is imported only when it is asked.
"""

import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from archipel.planning.answering import Setting, answer, named
from archipel.planning.entries import rows
from archipel.planning.mistakes import CannotPlan, nearest
from archipel.planning.plan import Plan
from archipel.planning.renting import rent_in, rents_said
from archipel.planning.requests import REQUESTS, Request, as_dict, options_of
from archipel.planning.tables import MAX_OVERRIDES, OWN, Shelf, shelf
from archipel.planning.units import currency_of, in_dollars

CURRENCY = "currency"
"""The group of constants that amounts in other currencies are converted by."""


@dataclass(frozen=True)
class Ask:
    """A question with everything that decides its answer."""

    question: str
    request: Request
    setting: Setting = field(default_factory=Setting)
    own: Mapping[str, Any] | None = None
    """The person's own table, parsed."""
    overrides: Sequence[str] = ()
    """`NAME=AMOUNT`, applied after the own table."""

    def shelf(self) -> Shelf:
        """The constants this question sees.

        Raises:
            CannotPlan: more overrides than anyone means, or one that cannot be.
        """
        if len(self.overrides) > MAX_OVERRIDES:
            raise CannotPlan(f"--set: got {len(self.overrides)}, expected at most {MAX_OVERRIDES}")
        made = shelf(self.setting.as_of, self.own)
        if self.setting.region or self.setting.spot:
            own = {name for name, _ in rows(self.own or {}, OWN)}
            rent_in(made, self.setting.region, own, spot=self.setting.spot)
        for text in sorted(self.overrides, key=lambda text: not text.startswith(f"{CURRENCY}.")):
            name, sign, written = text.partition("=")
            made.override(f"{name}{sign}{in_dollars(written, _rates(made))}")
        return made

    def plan(self) -> Plan:
        """The question's plan, not yet computed."""
        file = importlib.import_module(f"archipel.planning.questions.{self.question}")
        made: Plan = file.plan(self.in_dollars(), self.shelf())
        return made

    def in_dollars(self) -> Request:
        """The request with amounts in dollars where they were written in another currency."""
        rates = _rates(self.shelf())
        texts = {n: value for n, value in asdict(self.request).items() if isinstance(value, str)}
        return replace(self.request, **{n: in_dollars(text, rates) for n, text in texts.items()})

    def data(self, *, whole: bool = True) -> dict[str, Any]:
        """The answer as plain data, with enough to ask again; `whole` as in `answer`."""
        plan = self.plan()
        found = answer(plan, self.setting, whole=whole)
        notices = [*found["notices"], *self._rates_said(), *self._rents_said(plan)]
        notices += self._unused(plan)
        return found | {"notices": notices, "ask": self.saved()}

    def _rates_said(self) -> list[str]:
        """The rate of every currency that something was asked in."""
        shelf = self.shelf()
        rates = _rates(shelf)
        asked = [*asdict(self.request).values(), *(t.partition("=")[2] for t in self.overrides)]
        texts = [text for text in asked if isinstance(text, str)]
        codes = [currency_of(text, rates) for text in texts if text != in_dollars(text, rates)]
        said = []
        for code in dict.fromkeys(codes):
            source = shelf.entry(name := f"{CURRENCY}.{code}").figure.source
            where = source.title + (", from memory" if source.read == "memory" else "")
            said.append(
                f"1 {code.upper()} is taken as {rates[code]:g} USD ({where}); --set {name}=RATE changes it"
            )
        return said

    def _rents_said(self, plan: Plan) -> list[str]:
        """Whose rents a plan took, if a place was named."""
        place, spot = self.setting.region, self.setting.spot
        return rents_said(self.shelf(), place, named(plan), spot=spot) if place else []

    def _unused(self, plan: Plan) -> list[str]:
        """What the person set and this plan does not use: perhaps a slip of the pen."""
        own = [name for name, row in rows(self.own or {}, OWN) if not isinstance(row, str)]
        mine = [*own, *(text.partition("=")[0].strip() for text in self.overrides)]
        packaged, used, notices = shelf().entries, named(plan) if mine else {}, []
        judged = ("claims.",) if self.question == "claims" else ()
        for name in dict.fromkeys(mine):
            if name in used or name.startswith((f"{CURRENCY}.", "claim.", *judged)):
                continue
            near = difflib.get_close_matches(name, packaged, n=1) if name not in packaged else []
            hint = f"; did you mean {near[0]}?" if near else ""
            notices.append(f"{name} is set, and this plan does not use it{hint}")
        return notices

    def saved(self) -> dict[str, Any]:
        """What `again` needs."""
        return {
            "question": self.question,
            "request": as_dict(self.request),
            "setting": vars(self.setting).copy(),
            "own": dict(self.own) if self.own else None,
            "overrides": list(self.overrides),
        }


def _rates(shelf: Shelf) -> dict[str, float]:
    """Dollars for one of each currency, by its three letters."""
    codes = shelf.members(CURRENCY)
    return {code: shelf.entry(f"{CURRENCY}.{code}").figure.value for code in codes}


ASKED = ("question", "request", "setting", "own", "overrides")
"""What a saved question consists of."""


def again(saved: Mapping[str, Any], where: str) -> Ask:
    """The question that a saved plan answers.

    Raises:
        CannotPlan: not a saved plan, or one of a question or option that no longer exists.
    """
    found = saved.get("ask", saved)
    request = found.get("request") if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or not isinstance(request, Mapping):
        raise CannotPlan(f"{where}: expected a plan saved with --json or --save")
    if "ask" in saved and (more := sorted(map(str, found.keys() - ASKED))):
        raise CannotPlan(f"{where}: ask: got {more[0]!r:.60}, expected only {', '.join(ASKED)}")
    question = str(found.get("question"))
    if question not in REQUESTS:
        raise nearest(question, REQUESTS, "question")
    known = {each.name: each.default for each in options_of(REQUESTS[question])}
    for name, value in request.items():
        if name not in known:
            raise nearest(str(name), known, f"option of plan {question}")
        if type(value) is not type(known[name]):
            raise CannotPlan(f"{where}: {name}: got {value!r:.60}, expected a text")
    own, overrides = found.get("own"), found.get("overrides", [])
    texts = isinstance(overrides, list) and all(isinstance(text, str) for text in overrides)
    if not texts or not (own is None or isinstance(own, dict)):
        raise CannotPlan(f"{where}: expected a list of texts as overrides and a table as own")
    try:
        setting = Setting(**found.get("setting", {}))
    except TypeError:
        raise CannotPlan(
            f"{where}: expected seed, samples, as_of, region and spot as its setting"
        ) from None
    return Ask(question, REQUESTS[question](**request), setting, own, tuple(overrides))
