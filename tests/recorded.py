"""A run as its ledger and blobs would tell it, made by a real trusted role, and examined by one."""

from pathlib import Path

from archipel.cli.run_blobs import Altered, NotKept
from archipel.lab.run_story import Exam, RunStory, Update
from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.kinds.evaluate import WORDS as EVALUATE_WORDS
from archipel.records.kinds.evaluate import EvaluateSpec
from archipel.records.kinds.update import WORDS
from archipel.records.recipe import Recipe
from archipel.records.statements import ModelFile
from archipel.records.words import Told
from archipel.work.kind import Answer, EngineChoice, Kind
from archipel.work.kinds.evaluate import make as make_evaluate
from archipel.work.kinds.update import Updates
from archipel.work.messages import LinkMessage
from tiny import NAME, write_start
from work import asked
from work.trusted import RECIPE, Trusted


class Files:
    """Blobs in memory and, for whoever wants a file, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data: dict[str, bytes] = {}

    def put(self, data: bytes) -> BlobRef:
        blob = BlobRef(digest=sha256_digest(data), size=len(data))
        self.data[blob.digest] = data
        return blob

    def read(self, blob: BlobRef) -> bytes:
        if blob.digest not in self.data:
            raise NotKept("gone")
        data = self.data[blob.digest]
        if sha256_digest(data) != blob.digest:
            raise Altered(f"{blob.digest} is other bytes")
        return data

    def path(self, blob: BlobRef) -> Path:
        path = self.folder / blob.digest
        path.write_bytes(self.read(blob))
        return path


class Recorded(Trusted):
    """As a ledger would tell it."""

    def __init__(self, folder: Path, start: Path, recipe: Recipe = RECIPE) -> None:
        super().__init__(folder, start, recipe)
        self.files = Files(folder)
        self.story = RunStory(NAME)

    def accept(self, answer: Answer) -> None:
        spec = self.spec()
        blobs = {role: self.files.put(path.read_bytes()) for role, path in answer.files.items()}
        said = WORDS.answer_of(spec, Told(answer.values, blobs, 1))
        self.story.updates.append(Update(spec, said, asked.SOMEBODY))
        super().accept(answer)
        for each in self.inputs[-1] if len(self.policies) <= self.recipe.run.versions else ():
            self.files.put(self.blobs[each.answer.result.digest].read_bytes())
            self.story.results[each.work] = each
            self.story.group_in |= dict.fromkeys(each.spec.groups, each.work)

    def examine(self, kind: Kind, version: int) -> None:
        """As the trusted role does, by the work that it is given for this."""
        chain = tuple(self._link(number) for number in range(version + 1))
        spec = EvaluateSpec(run=NAME, version=version, policy=self.policies[version])
        context = self.context("memory", -1).model_copy(update={"chain": chain})
        answer = kind.run(spec, context, lambda tokens: None)
        blobs = {role: self.files.put(path.read_bytes()) for role, path in answer.files.items()}
        said = EVALUATE_WORDS.answer_of(spec, Told(answer.values, blobs, 1))
        self.story.exams.append(Exam(spec, said, asked.SOMEBODY))

    def _link(self, version: int) -> LinkMessage:
        made = self.story.updates[version].answer
        anchor, delta = (
            None if blob is None else self.files.path(blob) for blob in (made.anchor, made.delta)
        )
        return LinkMessage(
            version=version,
            policy=made.policy,
            manifest=self.files.path(made.manifest),
            anchor=anchor,
            delta=delta,
        )

    def opened(self) -> None:
        model = [
            ModelFile(name=path.name, blob=self.files.put(path.read_bytes()))
            for path in sorted(self.start.iterdir())
        ]
        recipe = self.files.put(self.recipe.canonical_bytes())
        self.story.operators = frozenset([asked.SOMEBODY])
        opened = asked.opened(self.recipe)
        self.story.hear(opened.model_copy(update={"recipe": recipe, "model": tuple(model)}))


def recorded(folder: Path, versions: int) -> Recorded:
    """A run of so many versions, of which the first and the last were examined."""
    start = folder / "start"
    made = Recorded(folder, write_start(start))
    made.opened()
    kind = Updates()
    for _ in range(versions + 1):
        made.accept(made.ask(kind, "memory"))
    kind.close()
    exams = make_evaluate(EngineChoice())
    for version in (0, versions):
        made.examine(exams, version)
    exams.close()
    return made
