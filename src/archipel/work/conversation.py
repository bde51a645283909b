"""Questions and answers with one model on this machine; the smallest user of the engine."""

from datetime import datetime
from pathlib import Path

import torch

from archipel.engine.engine import Request
from archipel.model.backends import read_any_config
from archipel.model.dialogue import chat_ids
from archipel.model.tokenizer import Tokenizer
from archipel.model.weight_files import weight_files
from archipel.training.groups import prompt_ids, stop_ids
from archipel.training.wording import text_of, wording_of
from archipel.work.folders import Folder, folder_of

Turns = list[dict[str, str]]


class Conversation:
    """A model with a chat template remembers the turns; one without completes each line by itself.

    Law: a turn that fails leaves no trace, so the next line is answered as if it had not been there.
    """

    def __init__(
        self,
        model: Path | Folder,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        *,
        stop: tuple[str, ...] = (),
    ) -> None:
        """With a model directory, or what `folder_of` says of an adapter's, here. stop: texts that end an answer.

        Raises InvalidModel or InvalidTokenizer where the directory cannot be used, NoPieces: `stop` not with it.
        """
        folder = model if isinstance(model, Folder) else folder_of(model)
        path = folder.model
        config = read_any_config(path, folder.backend)
        # Whoever fetched only pickles is told that first, not which tokenizer lacks.
        weight_files(path)
        self.tokenizer = Tokenizer.from_directory(path)
        self._wording = wording_of(stop, "", self.tokenizer)
        self._positions = config.max_position_embeddings
        self._engine = folder.seated(None, torch.float32)
        self._max_new_tokens = max_new_tokens
        self._temperature = temperature
        self._seed = seed
        self._turns: Turns = []

    def describe(self) -> str:
        """What kind of model this is, and so what a line to it must look like."""
        vocabulary = f"vocabulary of {self.tokenizer.vocab_size}"
        if self.tokenizer.chat_template:
            return f"a chat model, {vocabulary}"
        return (
            f"a completion model, {vocabulary}: it goes on with your line as it stands, so write "
            "it in the form that it was trained on"
        )

    def answer(self, line: str, now: datetime | None = None) -> str:
        """The model's answer to one line; `now` is for templates that tell the model the date.

        Raises:
            UnknownText: the line has characters outside the vocabulary.
            InvalidChat: the template cannot render the turns.
            ValueError: the conversation is longer than the model's context.
            NonFiniteLogits: the weights are broken.
        """
        if not self.tokenizer.chat_template:
            return self._complete(prompt_ids(self.tokenizer, line))
        turns = [*self._turns, {"role": "user", "content": line}]
        text = self._complete(tuple(chat_ids(self.tokenizer, turns, now=now)))
        self._turns = [*turns, {"role": "assistant", "content": text}]
        return text

    def forget(self) -> None:
        """Begin anew: the next line is answered as if it were the first."""
        self._turns = []

    def _complete(self, prompt: tuple[int, ...]) -> str:
        room = self._positions - len(prompt)
        if room < 1:
            raise ValueError(
                f"{len(prompt)} tokens leave no room in a context of {self._positions}"
            )
        if not prompt:
            raise ValueError("nothing to go on from: this model's texts have no begin token")
        request = Request(
            key="chat",
            prompt=prompt,
            seed=self._seed + len(self._turns),
            num_rollouts=1,
            max_new_tokens=min(self._max_new_tokens, room),
            temperature=self._temperature,
            stop_tokens=stop_ids(self.tokenizer),
        )
        if self._wording is not None:
            request = self._wording.on(request)
        return text_of(self.tokenizer, self._engine.generate([request])[0][0], self._wording)
