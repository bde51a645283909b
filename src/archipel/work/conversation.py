"""Questions and answers with one model on this machine; the smallest user of the engine."""

from pathlib import Path

from archipel.engine.engine import LocalEngine, Request
from archipel.model.chat import render
from archipel.model.directory import read_config, read_model
from archipel.model.tokenizer import Tokenizer
from archipel.training.groups import prompt_ids, stop_ids


class Conversation:
    """A model with a chat template remembers the turns; one without completes each line by itself."""

    def __init__(self, model: Path, max_new_tokens: int, temperature: float, seed: int) -> None:
        self.tokenizer = Tokenizer.from_directory(model)
        config = read_config(model)
        self._positions = config.max_position_embeddings
        self._engine = LocalEngine(config)
        self._engine.load(dict(read_model(model).named_parameters()))
        self._max_new_tokens = max_new_tokens
        self._temperature = temperature
        self._seed = seed
        self._turns: list[dict[str, str]] = []

    def describe(self) -> str:
        """What kind of model this is."""
        kind = "chat" if self.tokenizer.chat_template else "completion"
        return f"{kind} model, {self.tokenizer.vocab_size} tokens"

    def answer(self, line: str) -> str:
        """The model's answer to one line.

        Raises:
            UnknownText: the line has characters outside the vocabulary.
            InvalidChat: the template cannot render the turns.
            ValueError: the conversation is longer than the model's context.
        """
        completion = self._complete(self._prompt(line))
        text = self.tokenizer.decode(completion)
        if self.tokenizer.chat_template:
            self._turns.append({"role": "assistant", "content": text})
        return text

    def _prompt(self, line: str) -> tuple[int, ...]:
        template = self.tokenizer.chat_template
        if not template:
            return prompt_ids(self.tokenizer, line)
        self._turns.append({"role": "user", "content": line})
        specials = self.tokenizer.special_tokens
        text = render(self._turns, template, special_tokens=specials)
        return tuple(self.tokenizer.encode(text))

    def _complete(self, prompt: tuple[int, ...]) -> tuple[int, ...]:
        room = self._positions - len(prompt)
        if room < 1:
            raise ValueError(
                f"{len(prompt)} tokens leave no room in a context of {self._positions}"
            )
        request = Request(
            key="chat",
            prompt=prompt,
            seed=self._seed + len(self._turns),
            num_rollouts=1,
            max_new_tokens=min(self._max_new_tokens, room),
            temperature=self._temperature,
            stop_tokens=stop_ids(self.tokenizer),
        )
        return self._engine.generate([request])[0][0].tokens
