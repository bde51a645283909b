"""What is said in a simulated run: whole records of the lab's own forms, about blobs that nobody makes."""

from collections.abc import Sequence

from archipel.records.audits import AuditTerms
from archipel.records.canonical import canonical_json, sha256_digest
from archipel.records.exact import CONTRACTS
from archipel.records.fields import BlobRef
from archipel.records.kinds.audit import AuditAnswer, AuditSpec, Difference
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.kinds.update import PromptBatch, UpdateAnswer, UpdateSpec
from archipel.records.membership import Delegation, Signed
from archipel.records.money import CreditsSettled, RunFunded
from archipel.records.programmes.rl import RlPace
from archipel.records.recipe_audit import AuditSection
from archipel.records.recipe_market import MarketTerms
from archipel.records.statements import (
    Capabilities,
    LeaseGranted,
    ModelFile,
    NodeJoined,
    RunOpened,
)
from archipel.records.terms import Terms
from archipel.simulation.lab import SimulatedLab
from archipel.simulation.scenario import Scenario
from archipel.simulation.setting import Setting

CONTRACT = CONTRACTS["w7a8"]
"""By which audited answers are said to be sampled: what is found different is different in a bit."""
VERSIONS = 1_000_000
KEPT = 64
"""Newest versions that can be fetched."""
LONGEST_MS = 6 * 3_600_000
BUDGET_MICRO = 10**14
"""A hundred million credits: a simulated run never runs out."""
VOCABULARY = 151_936
Said = RolloutAnswer | AuditAnswer | UpdateAnswer


def blob(name: str, num_bytes: int) -> BlobRef:
    """Bytes of which there is only the name and the size."""
    return BlobRef(digest=sha256_digest(name.encode()), size=num_bytes)


def opened(
    scenario: Scenario,
    setting: Setting,
    market: MarketTerms,
    lab: SimulatedLab,
    operator: str,
    trusted: Sequence[str],
) -> RunOpened:
    """The run, by the same terms and pace as a recipe would give it."""
    learning = scenario.learning
    return RunOpened(
        lab=lab.did,
        author=operator,
        seq=lab.next_seq(),
        run=scenario.name,
        recipe=blob("recipe", 4096),
        terms=Terms(
            versions=VERSIONS,
            evaluate_every=VERSIONS,
            checkpoint_every=scenario.spreading.anchor_every,
            keep_versions=KEPT,
            trusted_deadline_ms=LONGEST_MS,
        ),
        pace=RlPace(
            groups_per_update=learning.groups,
            group_size=learning.group_size,
            max_staleness=learning.staleness,
            seed=0,
            vocab_size=VOCABULARY,
            max_new_tokens=learning.most_tokens,
            temperature_micro=1_000_000,
            stop_tokens=(),
            max_groups_per_lease=learning.lease,
            min_deadline_ms=setting.least_deadline_ms,
            slack_milli=4000,
            price_micro=setting.posted_micro,
            exact=CONTRACT if scenario.audited else None,
            audit=audit_terms() if scenario.audited else None,
            market=market,
        ),
        model=(ModelFile(name="config.json", blob=blob("config", 1024)),),
        trusted=tuple(trusted),
    )


def audit_terms() -> AuditTerms:
    """Those of a recipe that says nothing of them."""
    default = AuditSection()
    return AuditTerms(
        floor_micro=round(default.floor * 1_000_000),
        pay_milli=round(default.pay * 1000),
        deadline_ms=600_000,
        window_ms=round(default.window_s * 1000),
        stake=default.stake,
        part_milli=round(default.part * 1000),
    )


def settled(lab: SimulatedLab, operator: str) -> CreditsSettled:
    """A sponsor pays in what its run may cost."""
    return CreditsSettled(
        lab=lab.did, author=operator, seq=lab.next_seq(), account=operator, direction="in",
        micro=BUDGET_MICRO, reference="budget",
    )  # fmt: skip


def funded(lab: SimulatedLab, operator: str, run: str) -> RunFunded:
    """And sets it aside for the run."""
    return RunFunded(lab=lab.did, author=operator, seq=lab.next_seq(), run=run, micro=BUDGET_MICRO)


def joined(
    lab: SimulatedLab,
    did: str,
    kinds: tuple[str, ...],
    speed_milli: int,
    audited: bool,
    operator: str | None = None,
) -> NodeJoined:
    """A node presents itself, for its operator if it has one: the delegation is whole, only nobody signed it."""
    delegation = None
    if operator is not None:
        said = Delegation(operator=operator, node=did, issued_ms=0)
        payload = canonical_json(said.model_dump(mode="json")).decode()
        delegation = Signed(payload=payload, signature="0" * 128)
    return NodeJoined(
        lab=lab.did,
        author=did,
        seq=lab.next_seq(),
        delegation=delegation,
        capabilities=Capabilities(
            kinds=kinds,
            engine="archipel",
            device="simulated",
            software="simulated",
            speed_milli=speed_milli,
            batch_invariant=True,
            protections=(),
            exact=(CONTRACT,) if audited else None,
        ),
    )


def rolled(grant: LeaseGranted, tokens: int, audited: bool) -> RolloutAnswer:
    """The answer to a lease of rollouts."""
    if not isinstance(grant.spec, RolloutSpec):
        raise TypeError(f"{grant.work} is {grant.spec.kind} work")
    return RolloutAnswer(
        policy=grant.spec.policy,
        result=blob(grant.work, 1024),
        num_tokens=tokens,
        busy_ms=0,
        exact=CONTRACT if audited else None,
    )


def audited(grant: LeaseGranted, is_forged: bool, setting: Setting) -> AuditAnswer:
    """What an auditor says: by an exact contract whoever looks at a forged answer finds the same difference."""
    if not isinstance(grant.spec, AuditSpec):
        raise TypeError(f"{grant.work} is {grant.spec.kind} work")
    difference = Difference(
        group=0, rollout=0, position=0, what="token", recorded="1", recomputed="2"
    )
    return AuditAnswer(
        record=grant.spec.record,
        says="differs" if is_forged else "agree",
        difference=difference if is_forged else None,
        positions=round(setting.audited_tokens(1)),
        busy_ms=0,
    )


def updated(spec: UpdateSpec, scenario: Scenario, setting: Setting) -> UpdateAnswer:
    """A version: an anchor every so many, a delta otherwise, and the next prompts."""
    version, learning = spec.version, scenario.learning
    is_anchor = version % scenario.spreading.anchor_every == 0
    due = (
        range(version + learning.staleness + 1) if version == 0 else (version + learning.staleness,)
    )
    weights = setting.weights
    return UpdateAnswer(
        version=version,
        parent=spec.parent,
        policy=sha256_digest(f"policy {version}".encode()),
        manifest=blob(f"manifest {version}", 4096),
        anchor=blob(f"anchor {version}", round(weights.sent_gb * 1e9)) if is_anchor else None,
        delta=blob(f"delta {version}", round(weights.delta_gb * 1e9)) if version else None,
        memory=blob(f"memory {version}", 4096) if is_anchor and version else None,
        prompts=tuple(PromptBatch(batch=each, blob=blob(f"prompts {each}", 4096)) for each in due),
        metrics={},
    )
