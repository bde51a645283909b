"""Sample work: answer a door's questions from the run's model, with a tenant's adapter over it or without."""

from pathlib import Path

import torch

from archipel.engine.engine import LocalEngine
from archipel.engine.protocol import WrongWeights
from archipel.model.adapter import Adapter
from archipel.model.adapter_files import read_adapter
from archipel.model.config import InvalidConfig
from archipel.model.config_files import InvalidModel, read_config
from archipel.model.directory import read_model
from archipel.records.adapter import FILES
from archipel.records.door import policy_of
from archipel.records.kinds.sample import SampleSpec
from archipel.records.payload import BadPayload
from archipel.training.tenants.operations import Refused
from archipel.work.engines import device_of
from archipel.work.kind import (
    Answer,
    Context,
    EngineChoice,
    Kind,
    MachineUnfit,
    Progress,
    WorkFailed,
    has_nothing_to_end,
    remembers_nothing,
)
from archipel.work.packed import BadFolder, unpack_folder
from archipel.work.question_payloads import pack_answers, unpack_questions
from archipel.work.recent import Recent
from archipel.work.resident import frozen
from archipel.work.sampling import PlainEngine


def make(choice: EngineChoice) -> Kind:
    """A fresh one."""
    return Kind(
        run=Samples(choice).run,
        remembers=remembers_nothing,
        close=has_nothing_to_end,
        shared=False,
    )


class Samples:
    """Keeps the engines of the runs worked in lately, with the adapter asked for last."""

    def __init__(self, choice: EngineChoice) -> None:
        self._choice = choice
        self._engines: Recent[Path, PlainEngine] = Recent(limit=1)

    def run(self, spec: SampleSpec, context: Context, progress: Progress) -> Answer:
        """Answer: file `result`; values `policy` (of what was sampled from), `num_tokens`.

        1 the questions  2 the weights  3 the answers
        """
        # 1
        try:
            questions = unpack_questions(context.blobs[spec.questions.digest].read_bytes())
        except BadPayload as error:
            raise WorkFailed(f"questions of {context.work}: {error}") from None
        # 2
        engine = self._engine(context)
        adapter = self._adapter(spec, context)
        digest = None if spec.adapter is None else spec.adapter.digest
        try:
            engine.take(digest or "", adapter)
        except WrongWeights as error:
            raise WorkFailed(f"the adapter of {context.work}: {error}") from None
        files = ((file.name, file.blob.digest) for file in context.opened.model)
        policy = policy_of(files, digest)
        # 3
        answers = engine.answers(questions, adapter is not None, progress)
        path = context.scratch / "result"
        path.write_bytes(pack_answers(answers))
        num_tokens = sum(each.num_tokens for each in answers if not isinstance(each, Refused))
        return Answer({"result": path}, {"policy": policy, "num_tokens": num_tokens})

    def _engine(self, context: Context) -> PlainEngine:
        """Raises MachineUnfit, WorkFailed: the run's model cannot be sampled from here."""
        engine = self._engines.get(context.model)
        if engine is not None:
            return engine
        self._engines.make_room(context.model)
        if self._choice.name != "archipel":
            raise MachineUnfit(
                f"a door's questions are answered by the engine archipel, this machine has {self._choice.name}; join "
                "with --engine archipel"
            )
        device_of(self._choice)
        dtype = torch.float32 if self._choice.dtype == "float32" else torch.bfloat16
        try:
            config = read_config(context.model)
            inner = LocalEngine(config, dtype=dtype, device=self._choice.device)
            decoder = frozen(read_model(context.model))
            inner.load({name: each.detach() for name, each in decoder.named_parameters()})
        except (InvalidModel, InvalidConfig, WrongWeights) as error:
            raise WorkFailed(f"the model of {context.run} cannot be used: {error}") from None
        engine = PlainEngine(inner, context.model)
        self._engines.put(context.model, engine)
        return engine

    def _adapter(self, spec: SampleSpec, context: Context) -> Adapter | None:
        """Raises WorkFailed: it is none of this model."""
        if spec.adapter is None:
            return None
        folder = context.scratch / "adapter"
        try:
            unpack_folder(context.blobs[spec.adapter.digest], frozenset(FILES), folder)
            adapter, _ = read_adapter(folder, read_config(context.model))
        except (BadFolder, InvalidModel) as error:
            raise WorkFailed(f"the adapter of {context.work}: {error}") from None
        return adapter
