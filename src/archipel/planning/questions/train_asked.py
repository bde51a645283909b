"""What was asked of `plan train`: amounts with their units, and the combinations that cannot both hold."""

from dataclasses import dataclass

from archipel.planning.mistakes import Conflict, Impossible, nearest
from archipel.planning.quantity import Quantity, Source, Stated, given, stated
from archipel.planning.questions.bounds import (
    FLEET_TIME,
    FLOP,
    LEAST_SHARE,
    LOSS,
    MONEY,
    PARAMS,
    SERVED,
    TOKENS,
    Bounds,
    bounded,
    checked,
    share_of,
)
from archipel.planning.requests.train import DEFAULT_BUDGET, TrainRequest
from archipel.planning.tables import Shelf
from archipel.planning.units import kind_of

STAGES = ("pretrain", "mid", "sft", "rl")
BUDGETS = {"money": "USD", "flop": "FLOP", "time": "day"}
_BUDGET_BOUNDS = {"money": MONEY, "flop": FLOP, "time": FLEET_TIME}


@dataclass(frozen=True)
class Asked:
    """The amounts of a request, each None if it was not given."""

    stage: str
    """One of `STAGES`, or all."""
    fit: str
    budget_kind: str
    """A key of `BUDGETS`; empty without a budget."""
    budget: Quantity | None
    params: Quantity | None
    active: Quantity | None
    tokens: Quantity | None
    loss: Quantity | None
    like: Quantity | None
    served: Quantity | None
    unique: Quantity | None

    @property
    def from_size(self) -> bool:
        """Whether parameters and tokens were both given: what remains is the bill."""
        return self.params is not None and self.tokens is not None

    @property
    def from_quality(self) -> bool:
        """Whether a loss is to be reached."""
        return self.loss is not None or self.like is not None


def read(request: TrainRequest, shelf: Shelf) -> Asked:
    """The request in units.

    Raises:
        UnitMismatch, UnknownName, Conflict, Impossible: as their messages say.
    """
    if request.stage not in (*STAGES, "all"):
        raise nearest(request.stage, (*STAGES, "all"), "stage")
    shelf.choose("law.scalerl", request.rl_recipe, "recipe (--rl-recipe)")
    _check_conflicts(request)
    kind, budget = _budget(request)
    asked = Asked(
        request.stage,
        shelf.choose("law.chinchilla", request.fit, "scaling-law fit"),
        kind,
        budget,
        _given(request.params, "train.params", PARAMS, "--params", "parameters"),
        _given(
            request.active_params, "train.active_params", PARAMS, "--active-params",
            "parameters used per token",
        ),
        _given(request.tokens, "train.tokens", TOKENS, "--tokens", "training tokens"),
        _given(request.loss, "asked.loss", LOSS, "--loss", "loss to reach"),
        _given(request.like, "asked.like", PARAMS, "--like", "size whose quality to reach"),
        _given(
            request.inference_tokens, "asked.served", SERVED, "--inference-tokens",
            "tokens served in its life",
        ),
        _given(request.unique_tokens, "asked.unique", TOKENS, "--unique-tokens", "distinct tokens"),
    )  # fmt: skip
    if asked.params and asked.active and value_of(asked.active) > value_of(asked.params):
        raise Impossible(
            f"--active-params {request.active_params}: more than --params {request.params}, "
            "which counts all of them"
        )
    return asked


def value_of(quantity: Quantity) -> float:
    """The number of a quantity that somebody stated."""
    return float(getattr(quantity.origin, "value"))  # noqa: B009  # stated by construction


def defaulted(name: str, value: float, unit: str, option: str, about: str) -> Quantity:
    """What the planner chose because nobody said otherwise."""
    source = Source("default", f"chosen by the planner; say otherwise with {option}")
    return stated(name, unit, Stated(float(value), "assumed", source), about)


def share_given(text: str, name: str, option: str, about: str) -> Quantity:
    """A share in 0..1 that the person gave.

    Raises:
        Impossible: outside.
    """
    return given(name, share_of(text, option, least=LEAST_SHARE), "1", option, about)


def _given(text: str, name: str, of: Bounds, option: str, about: str) -> Quantity | None:
    if not text:
        return None
    return given(name, bounded(text, of, option), of.unit, option, about)


def _budget(request: TrainRequest) -> tuple[str, Quantity | None]:
    fixed = (request.params, request.tokens, request.loss, request.like)
    rl_only = request.stage == "rl" and (request.rl_hours or request.rollouts)
    text = request.budget or ("" if any(fixed) or rl_only else DEFAULT_BUDGET)
    if not text:
        return "", None
    kind, value = kind_of(text, BUDGETS, "--budget")
    checked(value, _BUDGET_BOUNDS[kind], text, "--budget")
    if not request.budget:
        return kind, defaulted("asked.budget", value, BUDGETS[kind], "--budget", "budget")
    return kind, given("asked.budget", value, BUDGETS[kind], "--budget", "budget")


_APART = (
    (("loss", "like"), "both say which quality to reach; keep one"),
    (("budget", "loss"), "the budget decides the loss, or the loss the budget; keep one"),
    (("budget", "like"), "the budget decides the quality, or the quality the budget; keep one"),
    (("budget", "params", "tokens"), "size and tokens already decide the cost; drop one of the three"),
    (("loss", "params", "tokens"), "size and tokens already decide the loss; drop one of the three"),
    (("like", "params", "tokens"), "size and tokens already decide the quality; drop one of the three"),
    (("inference_tokens", "unique_tokens"), "no published law covers both; drop one"),
    (("unique_tokens", "loss"), "with repeated data ask for a budget or a size; drop one"),
    (("unique_tokens", "like"), "with repeated data ask for a budget or a size; drop one"),
    (("rl_hours", "rollouts"), "hours decide the rollouts, or rollouts the hours; keep one"),
)  # fmt: skip
_NOT_AFTER_PRETRAINING = ("loss", "like", "inference_tokens", "unique_tokens", "fit")
_RL_ONLY = ("rl_hours", "rollouts", "rollout_tokens", "rl_recipe")


def _check_conflicts(request: TrainRequest) -> None:
    for names, why in _APART:
        if all(getattr(request, name) for name in names):
            raise Conflict(f"{_spoken(names)}: {why}")
    if request.active_params and not request.params:
        raise Conflict(
            "--active-params without --params: give all parameters of the mixture too, "
            "e.g. --params 671B --active-params 37B"
        )
    _check_stage(request)


def _check_stage(request: TrainRequest) -> None:
    later = request.stage in ("mid", "sft", "rl")
    if later and not request.params:
        raise Conflict(
            f"--stage {request.stage} continues a model that exists: add --params, e.g. --params 8B"
        )
    if later:
        for name in _NOT_AFTER_PRETRAINING:
            if getattr(request, name) != getattr(TrainRequest, name):
                raise Conflict(
                    f"{_spoken((name,))} with --stage {request.stage}: the scaling laws hold for "
                    "pre-training; drop it or use --stage all"
                )
    if request.stage not in ("rl", "all"):
        for name in _RL_ONLY:
            if getattr(request, name) != getattr(TrainRequest, name):
                raise Conflict(f"{_spoken((name,))}: only with --stage rl or --stage all")
    if request.shares and request.stage != "all":
        raise Conflict("--shares: only with --stage all")
    _check_rl_budget(request)


def _check_rl_budget(request: TrainRequest) -> None:
    named = next(
        (name for name in ("rl_hours", "rollouts", "tokens") if getattr(request, name)), ""
    )
    if request.stage == "rl" and request.tokens:
        raise Conflict("--tokens with --stage rl: say --rollouts and --rollout-tokens instead")
    if request.stage == "rl" and request.budget and named:
        raise Conflict(f"--budget and {_spoken((named,))}: the budget decides it; drop one")
    if request.stage == "all" and request.budget and request.rollouts:
        raise Conflict(
            "--budget and --rollouts: the size is not known before the budget is split; "
            "use --rl-hours, --shares, or --params with --tokens"
        )
    if request.stage in ("mid", "sft") and request.budget and request.tokens:
        raise Conflict(
            "--budget and --tokens: the size is given, so one decides the other; drop one"
        )


def _spoken(names: tuple[str, ...]) -> str:
    return " and ".join(f"--{name.replace('_', '-')}" for name in names)
