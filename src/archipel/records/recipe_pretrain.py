"""The recipe of pretraining across sites: a TOML file that defines a run, closed and total.

Every section is frozen and refuses unknown keys; those of inner and outer steps stand in `recipe_outer`.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from archipel.records.canonical import MAX_SAFE_INTEGER, NotCanonical
from archipel.records.fields import Digest
from archipel.records.pretraining import (
    MAX_BATCH,
    MAX_EPOCHS,
    MAX_MEMBERS,
    MAX_WINDOW_TOKENS,
    AggregateName,
)
from archipel.records.recipe_audit import ReplaySection
from archipel.records.recipe_charter import CharterSection
from archipel.records.recipe_form import RecipeForm, RunHeader, Section
from archipel.records.recipe_model import ModelSection
from archipel.records.recipe_outer import ExchangeSection, InnerSection, MergeSection, OuterSection

NOT_HERE = {
    "market": "contributions are paid at the posted price, lease.price_micro",
}
"""Sections of other programmes that mean nothing here, and what there is instead."""


class PretrainRunSection(RunHeader):
    """How the run is paced."""

    programme: Literal["pretrain"]
    """What the run follows: `pretrain`, members that each train alone and whose changes are merged."""
    versions: Annotated[int, Field(ge=1, le=1_000_000)]
    """Outer steps; the last version has this number."""
    members: Annotated[int, Field(ge=1, le=MAX_MEMBERS)] = 4
    """M: contributions that an outer step asks for, each of another node where there are so many."""
    seed: Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)] = 0
    """Which text each contribution learns from follows from it."""
    anchor_every: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Every K-th version is also published whole, so a late joiner replays at most K deltas."""
    checkpoint_every: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """Every K-th version also brings the outer optimiser's state; older contributions may then go."""
    keep_versions: Annotated[int, Field(ge=1, le=100_000)] = 256
    """So many of the newest versions stay fetchable, with the anchor that leads to them."""


class CorpusSection(Section):
    """The text that members learn from; `archipel corpus make` makes it."""

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    """Its folder, where the run is opened; members get the shards from the lab."""
    digest: Digest | None = None
    """Of its manifest: another text at that path is then refused."""
    sequence_length: Annotated[int, Field(ge=1, le=MAX_WINDOW_TOKENS)] = 256
    """L: inputs of a window, which holds one token more; at most the model's context."""
    batch: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 32
    """Windows of one inner step."""
    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)] = 1
    """The text is gone through at most so often; a run that needs more is refused when it is opened."""


class HeldOutSection(Section):
    """Held-out text during training, pinned to a version."""

    every: Annotated[int, Field(ge=1)] = 10
    """Evaluate version 0, every K-th version and the last."""
    path: Annotated[str, Field(max_length=4096)] = ""
    """Folder of held-out text, on the trusted machine; empty: the held-out shards of `corpus.path`."""
    windows: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Of `corpus.sequence_length`, the first ones; fewer where there are fewer."""


class MemberLeaseSection(Section):
    """What is asked of a node at a time, and for how long."""

    min_deadline_s: Annotated[float, Field(ge=0.1, le=86_400.0)] = 60.0
    """No lease has less time."""
    slack: Annotated[float, Field(ge=1.0, le=100.0)] = 4.0
    """Deadline = max(min_deadline_s, slack x the node's expected time)."""
    merge_deadline_s: Annotated[float, Field(ge=0.1, le=86_400.0)] = 600.0
    """How long a merge or an evaluation may take before another trusted process may try; no other lease is longer."""
    price_micro: Annotated[int, Field(ge=0, le=10**12)] = 1000
    """Micro-credits for one merged contribution of `inner.steps` steps; for fewer steps, their part of it."""


class PretrainRecipe(RecipeForm):
    """A whole run of pretraining across sites."""

    run: PretrainRunSection
    corpus: CorpusSection
    model: ModelSection = ModelSection()
    inner: InnerSection = InnerSection()
    exchange: ExchangeSection = ExchangeSection()
    outer: OuterSection = OuterSection()
    merge: MergeSection = MergeSection()
    evaluation: HeldOutSection = HeldOutSection()
    lease: MemberLeaseSection = MemberLeaseSection()
    audit: ReplaySection | None = None
    charter: CharterSection | None = None

    @model_validator(mode="before")
    @classmethod
    def _only_what_works(cls, sections: Any) -> Any:
        for name, instead in NOT_HERE.items():
            if isinstance(sections, dict) and sections.get(name) is not None:
                raise ValueError(f"[{name}] is not for pretraining: {instead}; remove it")
        return sections

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.model.backend != "archipel":
            raise ValueError(
                f'model.backend = "{self.model.backend}" is not trained across sites; expected "archipel"'
            )
        if self.model.num_heads % self.model.num_kv_heads:
            raise ValueError(
                f"model.num_heads = {self.model.num_heads} is not a multiple of num_kv_heads = "
                f"{self.model.num_kv_heads}"
            )
        self._check_merges()
        self._check_audits()
        try:
            self.canonical_bytes()
        except NotCanonical as error:
            raise ValueError(f"a value has no place in a record: {error}") from None
        return self

    def _check_merges(self) -> None:
        """Whether the smallest merge that may come has enough contributions for its aggregate."""
        merge, members = self.merge, self.run.members
        if merge.quorum > members:
            raise ValueError(
                f"merge.quorum = {merge.quorum} is more than run.members = {members}; lower it"
            )
        needed = _fewest(merge.aggregate, merge.faulty) + merge.faulty
        if self.quorum < needed:
            raise ValueError(
                f"merge.aggregate = {merge.aggregate} with merge.faulty = {merge.faulty} needs {needed} contributions, so "
                f"that enough are left when as many are refused, and a merge may have {self.quorum} (merge.quorum, or "
                "run.members without it); raise that or lower faulty"
            )
        if self.exchange.codec == "top_k" and merge.aggregate not in ("mean", "multi_krum"):
            raise ValueError(
                f"merge.aggregate = {merge.aggregate} takes each value over all members, and with exchange.codec = top_k "
                "most of them did not send it; take mean or multi_krum, or another codec"
            )

    def _check_audits(self) -> None:
        """Whether whoever audits has all that a contribution follows from."""
        if self.audit is None:
            return
        if self.inner.state != "fresh" or self.exchange.feedback:
            raise ValueError(
                f'[audit] needs inner.state = "fresh" and exchange.error_feedback = 0, and they are "{self.inner.state}" and '
                f"{self.exchange.feedback:g}: what a member remembers nobody else has, so nobody could make its steps again"
            )

    @property
    def quorum(self) -> int:
        """Contributions that the smallest merge has."""
        return self.merge.quorum or self.run.members

    @property
    def secret_name(self) -> str | None:
        """`merge.gate_secret`."""
        return self.merge.gate_secret

    @property
    def data_paths(self) -> tuple[str, ...]:
        """Folders of the trusted machine that the run reads."""
        found = (self.corpus.path, self.merge.gate_path, self.evaluation.path)
        return tuple(path for path in found if path)


def _fewest(aggregate: AggregateName, faulty: int) -> int:
    """Contributions that an aggregate is made from, so that faulty ones do no harm (docs/explanation/merges.md)."""
    if aggregate == "mean":
        return 1
    return 2 * faulty + (3 if aggregate == "multi_krum" else 1)
