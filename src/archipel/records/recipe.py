"""The recipe of reinforcement learning: a TOML file that defines a run, closed and total.

Every section is frozen and refuses unknown keys, so a typo is an error and not a silent default.
The lab, the update role and the planner read the same recipe; nodes never need it.
Laws: no I/O here (`parse` takes text); a recipe's digest is over its canonical JSON, so that the
file's comments and layout do not matter.
"""

from typing import Any, Self, get_args

from pydantic import model_validator

from archipel.records.canonical import NotCanonical, canonical_json
from archipel.records.episodes import check_answers
from archipel.records.exact import VariantName
from archipel.records.fields import MAX_GROUPS_PER_UPDATE
from archipel.records.recipe_alarms import AlarmSection
from archipel.records.recipe_audit import AuditSection
from archipel.records.recipe_charter import CharterSection
from archipel.records.recipe_form import (
    RecipeForm,
    names_file,
    read_canonical,
    read_toml,
    without_floats,
)
from archipel.records.recipe_learning import (
    AlgorithmSection,
    CurriculumSection,
    LossSection,
    MemorySection,
    OptimiserSection,
    ReferenceSection,
    SupervisedSection,
    TeacherSection,
)
from archipel.records.recipe_market import MarketSection
from archipel.records.recipe_model import (
    AdapterSection,
    EpisodeSection,
    ModelSection,
    PromptSection,
)
from archipel.records.recipe_run import EnvironmentSection, RunSection
from archipel.records.recipe_sampling import SamplingSection
from archipel.records.recipe_work import EvaluationSection, LeaseSection

__all__ = [
    "RunSection",
    "EnvironmentSection",
    "ModelSection",
    "AdapterSection",
    "PromptSection",
    "SamplingSection",
    "AlarmSection",
    "AuditSection",
    "AlgorithmSection",
    "CharterSection",
    "CurriculumSection",
    "LossSection",
    "MemorySection",
    "OptimiserSection",
    "ReferenceSection",
    "EpisodeSection",
    "EvaluationSection",
    "SupervisedSection",
    "TeacherSection",
    "LeaseSection",
    "MarketSection",
    "Recipe",
    "names_file",
    "parse_recipe",
    "recipe_from_canonical",
]


class Recipe(RecipeForm):
    """A whole run of reinforcement learning."""

    run: RunSection
    environment: EnvironmentSection
    model: ModelSection = ModelSection()
    adapter: AdapterSection | None = None
    prompt: PromptSection = PromptSection()
    sampling: SamplingSection = SamplingSection()
    algorithm: AlgorithmSection = AlgorithmSection()
    loss: LossSection = LossSection()
    optimiser: OptimiserSection = OptimiserSection()
    memory: MemorySection = MemorySection()
    evaluation: EvaluationSection = EvaluationSection()
    supervised: SupervisedSection | None = None
    lease: LeaseSection = LeaseSection()
    alarms: AlarmSection = AlarmSection()
    audit: AuditSection = AuditSection()
    reference: ReferenceSection = ReferenceSection()
    curriculum: CurriculumSection | None = None
    teacher: TeacherSection | None = None
    episode: EpisodeSection | None = None
    market: MarketSection | None = None
    charter: CharterSection | None = None

    LATER = frozenset(
        {
            "prompt",
            "adapter",
            "alarms",
            "audit",
            "reference",
            "curriculum",
            "teacher",
            "episode",
            "memory",
            "market",
            "charter",
        }
    )

    @model_validator(mode="after")
    def _episodes_are_played(self) -> Self:
        given = self.environment
        check_answers(given.name, given.parameters, has_episode=self.episode is not None)
        if self.episode is not None and self.sampling.replays_routing:
            raise ValueError("sampling.replays_routing is of one turn; leave it out with [episode]")
        if self.episode is not None and self.sampling.stop:
            raise ValueError(
                "[episode] and sampling.stop: the environment answers after the model's own stop tokens; remove one of them"
            )
        return self

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        self.model.require_backend_for(self.adapter, self.sampling, self.memory)
        if self.optimiser.minibatches > self.run.groups_per_update:
            raise ValueError(
                f"optimiser.minibatches is {self.optimiser.minibatches}, more than "
                f"run.groups_per_update = {self.run.groups_per_update}; lower it"
            )
        self._check_parts()
        self._check_batch()
        self._check_cut()
        heads, kv_heads = self.model.num_heads, self.model.num_kv_heads
        if heads % kv_heads:
            raise ValueError(
                f"model.num_heads = {heads} is not a multiple of num_kv_heads = {kv_heads}"
            )
        try:
            self.canonical_bytes()
        except NotCanonical as error:
            raise ValueError(f"a value has no place in a record: {error}") from None
        return self

    def _check_parts(self) -> None:
        if self.run.parts is not None and self.adapter is not None:
            raise ValueError(
                f"run.parts = {self.run.parts} and [adapter]: an adapter is small and is published whole; remove one"
            )

    def _check_batch(self) -> None:
        """How large a batch may become, and of how many tasks."""
        most = self.run.groups_per_update * (1 + self.algorithm.refill)
        if self.curriculum is not None and self.curriculum.pool < most:
            raise ValueError(
                f"curriculum.pool = {self.curriculum.pool} is smaller than the {most} groups that a batch may have "
                "(run.groups_per_update, algorithm.refill), and a batch has no task twice; raise it"
            )
        if most > MAX_GROUPS_PER_UPDATE:
            raise ValueError(
                f"algorithm.refill = {self.algorithm.refill} lets a batch have {most} groups; at most "
                f"{MAX_GROUPS_PER_UPDATE}: lower it or run.groups_per_update"
            )
        if self.algorithm.refill and self.teacher is not None:
            raise ValueError(
                "algorithm.refill and [teacher]: a teacher teaches every token, whatever it earned; remove one of them"
            )

    def _check_cut(self) -> None:
        """The learner cuts by the weights it stands at, so these have to be the ones that sampled."""
        cut = self.sampling.cut
        if cut is None:
            return
        named = f"sampling.{' and sampling.'.join(cut.bounds)}"
        if self.run.max_staleness or self.optimiser.minibatches > 1:
            raise ValueError(
                f"{named}: which tokens are left changes with the weights, and the learner knows those alone that it "
                f"stands at; run.max_staleness = {self.run.max_staleness} and optimiser.minibatches = "
                f"{self.optimiser.minibatches} need the whole distribution: set them to 0 and 1, or sample it whole"
            )
        if self.reference.coefficient or self.teacher is not None:
            raise ValueError(
                f"{named} and a reference or teacher: these leave other tokens than the learner; remove one of them"
            )

    def canonical_bytes(self) -> bytes:
        """The recipe with every default filled in, as canonical JSON; but what older recipes do not have is left
        out while it says nothing, so that they keep their digests. `auto` has no place in it and is `any`.
        """
        sections = self.spared()
        parameters = {
            key: {"float": repr(value)} if isinstance(value, float) else value
            for key, value in sections["environment"]["parameters"].items()
        }
        sections["environment"]["parameters"] = parameters
        if self.sampling.engine != "exact":
            del sections["sampling"]["variant"]
        if self.sampling.engine in ("auto", "any"):
            del sections["sampling"]["engine"]
        return canonical_json(without_floats(sections))

    @classmethod
    def as_recorded(cls, sections: dict[str, Any]) -> dict[str, Any]:
        """See `RecipeForm`: where a record says nothing of an engine, any may sample."""
        sampling = sections.get("sampling", {})
        return sections | {"sampling": {"engine": "any"} | sampling}

    def by_variant(self, variant: str | None) -> Self:
        """The same, sampled by the exact contract of this variant; by any engine, if it is None."""
        return self.model_copy(update={"sampling": self.sampling.stated(variant)})

    @property
    def openings(self) -> tuple[Self, ...]:
        """Every recipe that a run of this one may be opened with: itself, unless it leaves the engine open."""
        if self.sampling.engine != "auto":
            return (self,)
        if self.sampling.narrowed or self.model.backend != "archipel":
            return (self.by_variant(None),)
        return (self.by_variant(None), *(self.by_variant(name) for name in get_args(VariantName)))

    @property
    def secret_name(self) -> str | None:
        """`environment.secret`."""
        return self.environment.secret

    @property
    def vain(self) -> str:
        """Stop strings that `sampling.allowed` keeps from being written."""
        return self.sampling.unheard

    @property
    def data_paths(self) -> tuple[str, ...]:
        """Parameters of the environment that are called `path` or `..._path`, and the teacher's directory."""
        parameters = self.environment.parameters.items()
        named = [
            value
            for key, value in parameters
            if names_file(key) and isinstance(value, str) and value
        ]
        return (*named, *([] if self.teacher is None else [self.teacher.path]))


def parse_recipe(text: str) -> Recipe:
    """Read a recipe of reinforcement learning from TOML text.

    Raises:
        InvalidRecipe: not TOML, an unknown key, a value out of bounds, or parts that do not fit.
    """
    return read_toml(text, Recipe)


def recipe_from_canonical(data: bytes) -> Recipe:
    """Read back what `Recipe.canonical_bytes` wrote.

    Raises:
        InvalidRecipe: too large, not JSON, or not a recipe.
    """
    return read_canonical(data, Recipe)
