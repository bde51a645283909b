"""A tiny run of pretraining as a lab would see it: a corpus, a trusted role that merges, members that train."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archipel.node.assigned import assigned_shards
from archipel.node.opening import Text, terms_and_pace
from archipel.node.operator import model_files
from archipel.records.canonical import sha256_digest
from archipel.records.corpus import CorpusManifest, Counts, Shard
from archipel.records.documents import AcceptedWork, inputs_digest
from archipel.records.fields import BlobRef
from archipel.records.kinds.inner_step import WORDS as INNER_STEP
from archipel.records.kinds.inner_step import InnerStepSpec
from archipel.records.kinds.merge import WORDS as MERGE
from archipel.records.kinds.merge import MergeAnswer, MergeSpec
from archipel.records.programmes import parse_any
from archipel.records.recipe_pretrain import PretrainRecipe
from archipel.records.statements import ModelFile, RunOpened
from archipel.records.words import SavedMemory, Told
from archipel.training.corpus.folder import write_manifest
from archipel.training.corpus.shard import file_digest, write_shard
from archipel.training.corpus.tokenising import Ids
from archipel.work.kind import Answer, Context, EngineChoice
from archipel.work.kinds.inner_step import InnerSteps
from archipel.work.kinds.merge import Merges
from archipel.work.messages import LinkMessage, ReplayMessage, ReplayStep, write_step
from archipel.work.opening import begin_model, corpus_files, payload_bytes
from work.asked import SOMEBODY
from work.trusted import position_of

NAME = "across"
SECRET = bytes(range(32))
STORY = "the tide came in and the tide went out, and the island stood where it had always stood. "

RECIPE = """
[run]
name = "across"
programme = "pretrain"
versions = 4
members = 2
anchor_every = 2
checkpoint_every = 2
[corpus]
path = "{corpus}"
sequence_length = 8
batch = 2
epochs = 4
[model]
family = "llama"
hidden_size = 16
num_layers = 1
num_heads = 2
num_kv_heads = 2
intermediate_size = 32
max_position_embeddings = 16
tokenizer = "characters"
[inner]
learning_rate = 0.01
steps = 2
commit_every = 1
[exchange]
codec = "int8"
[evaluation]
every = 2
windows = 8
"""
GATE = """
[merge]
loss_gate = true
gate_path = "{corpus}"
gate_secret = "gate"
gate_sequences = 2
"""


def recipe_of(corpus: Path, *more: str) -> PretrainRecipe:
    """more: further TOML, in which {corpus} stands for the folder."""
    recipe = parse_any("".join([RECIPE, *more]).replace("{corpus}", str(corpus)))
    assert isinstance(recipe, PretrainRecipe)
    return recipe


def write_corpus(folder: Path, repeats: int = 8) -> Path:
    """Two shards of two documents each, and one that is held out."""
    folder.mkdir(parents=True)
    ids = Ids.named("characters")
    shards = [_write_shard(folder, f"shard-0000{n}.tokens", n, repeats, ids) for n in range(2)]
    held_out = _write_shard(folder, "held-out-00000.tokens", 7, repeats, ids)
    manifest = CorpusManifest(
        form=1,
        tokenizer=ids.digest,
        vocabulary=ids.vocabulary,
        license="CC0-1.0",
        source="made by a test",
        held_out_millionths=1000,
        counts=Counts(read=6, empty=0, duplicates=0, text_bytes=1),
        shards=tuple(shards),
        held_out=(held_out,),
    )
    write_manifest(folder, manifest)
    return folder


def _write_shard(folder: Path, name: str, number: int, repeats: int, ids: Ids) -> Shard:
    texts = [f"{number} {STORY * repeats}", f"{STORY[::-1] * repeats} {number}"]
    parts = [np.array(ids.of(text), np.dtype("<u2")) for text in texts]
    text = sha256_digest("".join(texts).encode())
    write_shard(
        folder / name, np.cumsum([len(p) for p in parts]), np.concatenate(parts), (ids.digest, text)
    )
    size = (folder / name).stat().st_size
    return Shard(
        digest=file_digest(folder / name),
        size=size,
        tokens=sum(map(len, parts)),
        documents=len(parts),
        text=text,
    )


class OuterSteps:
    """What was asked and accepted; one trusted role, and members by name."""

    def __init__(self, folder: Path, recipe: PretrainRecipe) -> None:
        self.folder, self.recipe = folder, recipe
        folder.mkdir(parents=True, exist_ok=True)
        self.start = folder / "start"
        if not self.start.exists():
            begin_model(recipe, self.start)
        self.corpus = corpus_files(recipe)
        text = Text(
            tuple(self.corpus), tuple(self.corpus.values()), payload_bytes(recipe, self.start)
        )
        terms, pace = terms_and_pace(recipe, self.start, None, text)
        self.pace: Any = pace
        self.opened = RunOpened(
            lab=SOMEBODY,
            author=SOMEBODY,
            seq=1,
            run=NAME,
            recipe=BlobRef(digest=recipe.digest, size=len(recipe.canonical_bytes())),
            terms=terms,
            pace=pace,
            model=tuple(ModelFile(name=p.name, blob=_blob(p)) for p in model_files(self.start)),
            trusted=(SOMEBODY,),
        )
        self.blobs = {blob.digest: path for path, blob in self.corpus.items()}
        self.versions: list[MergeAnswer] = []
        self.inputs: list[tuple[AcceptedWork, ...]] = [()]
        self.memory: SavedMemory | None = None
        self.works = 0

    def context(self, name: str, work: str, **changed: Any) -> Context:
        """As an agent lays it ready for the process `name`."""
        scratch = self.folder / f"scratch-{name}-{self.works}"
        scratch.mkdir(exist_ok=True)
        plain: dict[str, Any] = {
            "work": work,
            "opened": self.opened,
            "model": self.start,
            "chain": (),
            "blobs": {},
            "secret": None,
            "recipe": None,
            "inputs": (),
            "replay": (),
            "checkpoint": None,
            "scratch": scratch,
            "memory": self.folder / f"memory-{name}",
        }
        return Context(**(plain | changed))

    def chain(self) -> tuple[LinkMessage, ...]:
        """To the newest version."""
        return tuple(
            LinkMessage(
                version=made.version,
                policy=made.policy,
                manifest=self.blobs[made.manifest.digest],
                anchor=None if made.anchor is None else self.blobs[made.anchor.digest],
                delta=None if made.delta is None else self.blobs[made.delta.digest],
            )
            for made in self.versions
        )

    def member(self, kind: InnerSteps, name: str, index: int) -> Answer:
        """Ask `kind` for a contribution to the newest version."""
        self.works += 1
        spec = self.spec(index)
        named = {each.digest: self.blobs[each.digest] for each in INNER_STEP.needs(spec).blobs}
        further = assigned_shards(spec, self.pace, named)
        blobs = named | {each.digest: self.blobs[each.digest] for each in further}
        work = f"{NAME}.{spec.version * self.pace.members + index + 1}"
        context = self.context(name, work, chain=self.chain(), blobs=blobs)
        return kind.run(spec, context, lambda tokens: None)

    def spec(self, index: int) -> InnerStepSpec:
        """Of a contribution to the newest version."""
        version = len(self.versions) - 1
        return InnerStepSpec(
            run=NAME,
            version=version,
            policy=self.versions[-1].policy,
            index=index,
            steps=self.pace.steps,
            first_step=version * self.pace.steps,
            corpus=self.pace.corpus.manifest,
        )

    def accepted(self, index: int, answer: Answer) -> AcceptedWork:
        """What stands in the ledger."""
        spec = self.spec(index)
        work = f"{NAME}.{spec.version * self.pace.members + index + 1}"
        said = INNER_STEP.answer_of(spec, Told(answer.values, self._kept(answer), 1))
        return AcceptedWork(work=work, spec=spec, answer=said)

    def merge_spec(self) -> MergeSpec:
        """Of the version that is due."""
        version = len(self.versions)
        return MergeSpec(
            run=NAME,
            version=version,
            parent=self.versions[-1].policy if version else None,
            inputs=inputs_digest(self.inputs[-1]) if version else None,
            memory=self.memory,
        )

    def merge(self, kind: Merges, name: str = "trusted") -> Answer:
        """Ask `kind` for the version that is due, from the newest inputs."""
        self.works += 1
        position = position_of(kind, self.folder / f"memory-{name}")
        told = self.memory is not None and position < self.memory.version
        if self.memory is not None and told:
            position = self.memory.version
        missed = range(max(position, 0) + 1, len(self.versions))
        context = self.context(
            name,
            f"{NAME}.{900 + len(self.versions)}",
            blobs=self.blobs,
            secret=SECRET if self.recipe.secret_name else None,
            recipe=self.recipe.canonical_bytes(),
            inputs=self.inputs[-1],
            replay=tuple(self._step(version) for version in missed),
            checkpoint=self.blobs[self.memory.blob.digest] if self.memory and told else None,
        )
        return kind.run(self.merge_spec(), context, lambda tokens: None)

    def _step(self, version: int) -> ReplayMessage:
        file = self.folder / f"step-{version}"
        write_step(file, ReplayStep(inputs=self.inputs[version], blobs=self.blobs))
        return ReplayMessage(version=version, file=file)

    def publish(self, answer: Answer) -> MergeAnswer:
        """The version is accepted."""
        said = MERGE.answer_of(self.merge_spec(), Told(answer.values, self._kept(answer), 1))
        if said.void is None:
            self.versions.append(said)
            if said.memory is not None:
                self.memory = SavedMemory(version=said.version, blob=said.memory)
        return said

    def outer_step(self, members: Sequence[tuple[InnerSteps, str]], merges: Merges) -> MergeAnswer:
        """Contributions of these, in the order of their indices, merged."""
        self.contribute(members)
        return self.publish(self.merge(merges))

    def contribute(self, members: Sequence[tuple[InnerSteps, str]]) -> None:
        """Contributions of these are the newest inputs."""
        answers = [self.member(kind, name, i) for i, (kind, name) in enumerate(members)]
        self.inputs.append(tuple(self.accepted(i, each) for i, each in enumerate(answers)))

    def _kept(self, answer: Answer) -> dict[str, BlobRef]:
        found = {}
        for role, path in answer.files.items():
            data = path.read_bytes()
            blob = BlobRef(digest=sha256_digest(data), size=len(data))
            place = self.folder / f"blob-{blob.digest[-16:]}"
            place.write_bytes(data)
            self.blobs[blob.digest], found[role] = place, blob
        return found


def members(number: int) -> list[tuple[InnerSteps, str]]:
    """Fresh ones, each of a process of its own."""
    return [(InnerSteps(EngineChoice()), f"member-{n}") for n in range(number)]


def _blob(path: Path) -> BlobRef:
    data = path.read_bytes()
    return BlobRef(digest=sha256_digest(data), size=len(data))
