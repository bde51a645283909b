"""What readings of claims need beyond arithmetic on constants: whole labs, penalties, the frontier's lead.

Each is a function from shelf to quantity under a name that formulas in tables may use, `model.…`. Labs are
those of `plan lab`, the lead is that of `plan meek`: the same laws and constants, nothing fitted.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from archipel.planning.laws import frontier, returns, site_penalty
from archipel.planning.quantity import Numbers, Quantity, derive, scoped
from archipel.planning.questions.computers import lab_sheet
from archipel.planning.tables import Shelf

LABS = ("h100", "a100", "b200")
_KINDS = {"h100": "h100", "a100": "a100-80", "b200": "b200"}
PARTS = (
    "lab", "accelerators", "servers", "computing", "running", "electricity", "ownership",
    "computing_year", "hour",
)  # fmt: skip


@dataclass
class Models:
    """The computed quantities that formulas may name; each is made once."""

    shelf: Shelf

    def __post_init__(self) -> None:
        self._made: dict[str, Quantity] = {}
        self._labs: dict[str, dict[str, Quantity]] = {}

    def names(self) -> list[str]:
        """Every name there is."""
        return [f"model.{lab}.{part}" for lab in LABS for part in PARTS] + list(_MODELS)

    def __contains__(self, name: str) -> bool:
        return name in self.names()

    def __getitem__(self, name: str) -> Quantity:
        if name in _MODELS:
            if name not in self._made:
                self._made[name] = _MODELS[name](self.shelf)
            return self._made[name]
        _, lab, part = name.split(".")
        if lab not in self._labs:
            self._labs[lab] = _lab(lab, self.shelf)
        return self._labs[lab][part]


def _lab(lab: str, shelf: Shelf) -> dict[str, Quantity]:
    """The lab of `plan lab` with its defaults, and the number of accelerators that is talked about."""
    sheet = lab_sheet(_KINDS[lab], shelf, {"lab.accelerators": shelf["claim.gpus"]})
    computing = (sheet["lab.computing"] / shelf["lab.server_life"]).named(
        "lab.computing_year", "computers written off, a year", "USD/year"
    )
    hall = sheet["lab.hall"] / shelf["facility.life.building"]
    ownership = (computing + hall + sheet["lab.running"]).named(
        "lab.ownership", "written off and running, a year", "USD/year"
    )
    hours = shelf["claim.gpus"] * shelf["lab.year"] * shelf["lab.hours_in_use"]
    hour = (ownership / hours).named(
        "lab.cost_per_hour", "an accelerator-hour, all costs", "USD/(accelerator*h)"
    )
    asked = (
        "lab.purchase", "lab.accelerators_cost", "lab.servers_cost", "lab.computing", "lab.running",
        "energy.cost",
    )  # fmt: skip
    made = (*map(sheet.__getitem__, asked), ownership, computing, hour)
    return dict(zip(PARTS, scoped(made, lab), strict=True))


def _penalty(sites: str, shelf: Shelf) -> Quantity:
    return derive(
        f"penalty.{sites}",
        "1",
        [(shelf[f"claim.sites.{sites}"], "site"), (shelf["decentral.penalty_exponent"], "1")],
        site_penalty.penalty,
        f"claim.sites.{sites} ^ decentral.penalty_exponent",
        "compute for the same loss over that of one site",
    )


def _lost(shelf: Shelf) -> Quantity:
    """Share of bought time that becomes accepted work."""
    return (1.0 - shelf["decentral.verify.rejected"]) * shelf["decentral.availability.rented"]


def _overhead_rl(shelf: Shelf) -> Quantity:
    checked = 1.0 + shelf["decentral.verify.share"] * shelf["decentral.verify.cost_ratio"]
    return (checked / _lost(shelf)).named("overhead.rl", "checking, waste and absence, rollouts")


def _overhead_training(shelf: Shelf) -> Quantity:
    """A replayed training step costs as much as the step itself."""
    checked = 1.0 + shelf["decentral.verify.share"]
    waiting = shelf["decentral.utilisation.covenant"]
    return (checked / (_lost(shelf) * waiting)).named(
        "overhead.training", "checking, waste, absence and waiting for exchanges, pre-training"
    )


def _worth(shelf: Shelf) -> Quantity:
    return derive(
        "worth.three_years",
        "1",
        [
            (shelf["hardware.price_performance.orders"], "1/year"),
            (shelf["claim.three_years"], "year"),
        ],
        lambda orders, years: np.power(10.0, -orders * years),
        "10 ^ (−hardware.price_performance.orders × claim.three_years)",
        "worth by the price of the same speed when new",
    )


def _refit_exponent(shelf: Shelf) -> Quantity:
    """αβ/(α+β), the exponent of compute along the compute-optimal path."""
    alpha, beta = shelf["law.chinchilla.besiroglu.alpha"], shelf["law.chinchilla.besiroglu.beta"]
    return alpha * beta / (alpha + beta)


def _growth(variant: str, shelf: Shelf) -> tuple[Quantity, Quantity, Quantity]:
    """Exponent, growth that everyone shares, growth of the frontier alone, of one variant."""
    published = shelf["frontier.meek.alpha"]
    exponent = _refit_exponent(shelf) if variant == "refit" else published
    hardware, investment = shelf["frontier.meek.g_h"], shelf["frontier.meek.g_i"]
    if variant != "small_slower":
        return exponent, hardware * shelf["frontier.meek.g_alg"], investment * 1.0
    small, large = (
        shelf["frontier.algorithmic.rate_small"],
        shelf["frontier.algorithmic.rate_frontier"],
    )
    return exponent, hardware * small, investment * large / small


def _peak(variant: str, shelf: Shelf) -> Quantity:
    exponent, shared, own = _growth(variant, shelf)
    return derive(
        f"peak.{variant}",
        "year",
        [(exponent, "1"), (shared, "1"), (own, "1")],
        frontier.widest_after,
        "ln(ln(shared × own) / ln shared) / (exponent × ln own)",
        "years until the gap in loss is widest",
    )


def _fade(variant: str, shelf: Shelf) -> Quantity:
    exponent, shared, own = _growth(variant, shelf)
    return derive(
        f"fade.{variant}",
        "1",
        [
            (shelf["claim.year.early"], "year"),
            (shelf["claim.year.late"], "year"),
            (exponent, "1"),
            (shared, "1"),
            (own, "1"),
        ],
        lambda early, late, exponent, shared, own: (
            frontier.loss_gap(late, 1.0, exponent, shared, own)
            / frontier.loss_gap(early, 1.0, exponent, shared, own)
        ),
        "gap in loss at claim.year.late / gap at claim.year.early",
        "lead in loss, ten years against five",
    )


def _fade_unbounded(shelf: Shelf) -> Quantity:
    own = shelf["frontier.meek.g_i"]
    return derive(
        "fade.unbounded",
        "1",
        [(shelf["claim.year.early"], "year"), (shelf["claim.year.late"], "year"), (own, "1")],
        lambda early, late, own: (late * np.log(own)) / (early * np.log(own)),
        "claim.year.late × ln g_i / (claim.year.early × ln g_i)",
        "lead in orders of magnitude of compute, ten years against five",
    )


def _research(budget: str, shelf: Shelf) -> Quantity:
    """Research over training at the best split."""

    def ratio(budget: Numbers, threshold: Numbers, elasticity: Numbers) -> Numbers:
        share = returns.best_research_share(budget / threshold, elasticity)
        return share / (1.0 - share)

    size = "large" if budget == "claim.budget" else "small"
    return derive(
        f"research.{size}",
        "1",
        [
            (shelf[budget], "USD"),
            (shelf["meek.research_threshold"], "USD"),
            (shelf["meek.research_elasticity"], "1"),
        ],
        ratio,
        "s / (1 − s), s = (φ − threshold / budget) / (1 + φ), φ = meek.research_elasticity",
        "spending on methods over spending on training, best split",
    )


_Maker = Callable[[Shelf], Quantity]
_MODELS: dict[str, _Maker] = {
    "model.penalty.few": functools.partial(_penalty, "few"),
    "model.penalty.many": functools.partial(_penalty, "many"),
    "model.overhead.rl": _overhead_rl,
    "model.overhead.training": _overhead_training,
    "model.worth.three_years": _worth,
    **{
        f"model.peak.{v}": functools.partial(_peak, v)
        for v in ("published", "refit", "small_slower")
    },
    **{
        f"model.fade.{v}": functools.partial(_fade, v)
        for v in ("published", "refit", "small_slower")
    },
    "model.fade.unbounded": _fade_unbounded,
    "model.research.large": functools.partial(_research, "claim.budget"),
    "model.research.small": functools.partial(_research, "claim.budget_small"),
}
