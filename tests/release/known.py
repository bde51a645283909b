"""What is known of a small release that never was: facts, an owner's words, an index."""

from archipel.cli.recipes import shipped_recipes
from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.recipe import parse_recipe
from archipel.release.facts import (
    Cost,
    DataFact,
    EvaluationFact,
    Facts,
    PartyFact,
    VersionFact,
)
from archipel.release.index import Component, Parent, Released
from archipel.release.stated import DataStated, Stated
from people import identity

LAB, LEARNER, BOSS = (identity(name).did for name in ("lab", "learner", "boss"))
OPENED_MS = 1_790_000_000_000
HOSTILE = 'a "name" with | a bar, `ticks`, <b>marks</b>,\nlines and a: colon # and é'
"""A stranger's words, which have to stay words in every form."""


def digest(name: str) -> str:
    """Some digest of this name."""
    return ref(name).digest


def ref(name: str) -> BlobRef:
    """Some bytes of this name."""
    return BlobRef(digest=sha256_digest(name.encode()), size=len(name))


def version(number: int, anchor: bool) -> VersionFact:
    """Version `number`, made from two works."""
    return VersionFact(
        number=number,
        weights=digest(f"weights {number}"),
        parent=digest(f"weights {number - 1}") if number else None,
        manifest=ref(f"manifest {number}"),
        anchor=ref(f"anchor {number}") if anchor else None,
        delta=ref(f"delta {number}") if number else None,
        author=LEARNER,
        index=10 + number,
        at_ms=OPENED_MS + 60_000 * number,
        inputs=(f"tiny.{2 * number}", f"tiny.{2 * number + 1}") if number else (),
    )


def facts(**other: object) -> Facts:
    """A run of five versions in two ranges, one evaluation, two sources of data."""
    data = (
        DataFact("lines", "file", digest("lines"), 900, 30, 500, "data/lines.jsonl", None, None),
        DataFact("tasks", "generated", digest("tasks"), None, 64, 128, None, None, "the seed 11"),
        DataFact("rollouts", "rollouts", None, None, 160, 4000, None, None, None),
    )
    evaluation = EvaluationFact(
        version=5,
        weights=digest("weights 5"),
        report=ref("report"),
        metrics={"score_micro": 512_500.0, "loss": 0.125},
        author=LEARNER,
        index=40,
        at_ms=OPENED_MS + 400_000,
        tasks=digest("held out"),
    )
    parties = (
        PartyFact(BOSS, ("audited", "sampled"), (identity("node").did,), 12, 20, 4000, 2_500_000),
        PartyFact(LEARNER, ("evaluated", "updated"), (), 6, 0, 0, 0),
    )
    known: dict[str, object] = {
        "run": "tiny",
        "lab": LAB,
        "origin": "archipel.example/lab",
        "tree_size": 48,
        "tree_root": digest("root"),
        "operators": (BOSS,),
        "opened_index": 3,
        "opened_ms": OPENED_MS,
        "last_ms": OPENED_MS + 500_000,
        "recipe": parse_recipe(shipped_recipes()["secret-order"]),
        "recipe_digest": digest("recipe"),
        "parameters": 402_432,
        "architecture": "llama: 2 layers, width 128",
        "context_tokens": 64,
        "versions": tuple(version(number, number in (0, 2)) for number in range(6)),
        "parties": parties,
        "evaluations": (evaluation,),
        "data": data,
        "cost": Cost(2_500_000, 1800.0, 90_000.0, "Measured by nodes' own counters."),
        "software": ("archipel 0.1.0",),
        "contract": "exact-1",
        "files": {"model.safetensors": ref("model"), "config.json": ref("config")},
        "withdrawn": {"tiny.9": "an audit differed"},
    }
    return Facts(**(known | other))  # type: ignore[arg-type]


STATED = Stated(
    title="Sorting under a secret order",
    authors=("A. Person", "B. Person"),
    contact="person@example.org",
    address="https://example.org/model",
    licences={"default": "Apache-2.0", "dataset": "CC-BY-4.0"},
    languages=("en", "French"),
    intended_use="Studying how small models learn to sort.",
    limitations="It sorts six letters.",
    copyright_measures="Everything was written for this run.",
    removal_measures="Nothing illegal was found.",
    personal_data="None.",
    data=(DataStated(name="lines", source="https://example.org/lines", kind="public"),),
)


def index(**other: object) -> Released:
    """Of that release."""
    known: dict[str, object] = {
        "title": "Sorting under a secret order",
        "run": "tiny",
        "lab": LAB,
        "origin": "archipel.example/lab",
        "tree_size": 48,
        "tree_root": digest("root"),
        "version": 5,
        "weights": digest("weights 5"),
        "at_ms": OPENED_MS + 500_000,
        "components": (
            Component(
                kind="parameters",
                name="weights",
                places=("model.safetensors",),
                licence="OpenMDW-1.1",
            ),
            Component(
                kind="training_code", name="archipel", places=("code",), licence="Apache-2.0"
            ),
            Component(kind="libraries", name="torch", places=("code/lock.txt",), licence=None),
        ),
        "parents": (
            Parent(
                relation="fine-tuned from",
                name="somebody/base",
                weights=digest("base"),
                licence="MIT",
            ),
        ),
        "missing": ("Rollouts of batches 1 to 3: the lab had swept them.",),
    }
    return Released(**(known | other))  # type: ignore[arg-type]


def hostile() -> tuple[Facts, Stated, Released]:
    """The same, where whoever may say something says `HOSTILE`."""
    whole = facts()
    data = tuple(
        DataFact(HOSTILE, each.kind, each.digest, 1, 1, 1, each.place, None, HOSTILE)
        for each in whole.data
    )
    told = facts(
        data=data, software=(HOSTILE,), architecture=HOSTILE, withdrawn={"tiny.9": HOSTILE}
    )
    words = dict.fromkeys(
        (
            "title",
            "contact",
            "address",
            "intended_use",
            "out_of_scope",
            "limitations",
            "risks",
            "copyright_measures",
            "removal_measures",
            "personal_data",
        ),
        HOSTILE,
    )
    said = Stated(
        **words,  # type: ignore[arg-type]
        authors=(HOSTILE,),
        languages=(HOSTILE,),
        licences={"default": "OpenMDW-1.0 AND MIT"},
        data=(DataStated(name=HOSTILE, source=HOSTILE, description=HOSTILE, kind="crawled"),),
    )
    return told, said, index(title="x", missing=(HOSTILE[:400],))
