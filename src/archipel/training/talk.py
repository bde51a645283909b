"""The conversation of one episode while it is played: what was said, as messages, and as the tokens that came of it.

By a chat template that only appends, an answer is encoded once, alone. Of a run that retells, all of the conversation
is written anew by the template after each turn: where that goes on from what is there, the rest of it is the answer;
where the template changed what was said before, all of it is the prompt of a new sample.
Law: what was sampled stays the tokens that it is; texts are compared, tokens are never replaced.
"""

from collections.abc import Sequence

from archipel.model.tokenizer import Tokenizer
from archipel.training.environments.episodic import Turn
from archipel.training.manner import Manner


class Talk:
    """Of one episode."""

    def __init__(self, manner: Manner, prompt: str) -> None:
        """prompt: the task's text.

        Raises:
            InvalidChat, UnknownText: of a run that retells, by a template that cannot render it.
        """
        self._manner = manner
        self.turns: list[Turn] = []
        """What the model said."""
        self._messages = manner.opening(prompt)
        self._sample = list(manner.written(self._messages)) if manner.retells else []

    def hear(self, tokens: Sequence[int]) -> None:
        """One more turn of the model."""
        turn = self._manner.read(tokens)
        self.turns.append(turn)
        self._messages.append({"role": "assistant", "content": turn.text})
        self._sample += tokens

    def answered(self, texts: tuple[str, ...]) -> tuple[tuple[int, ...], bool]:
        """Ids of what follows the last turn when it is answered so, and whether they are all of the conversation.

        Raises:
            InvalidChat, UnknownText: this model's template or vocabulary cannot express it.
        """
        manner, to_calls = self._manner, bool(self.turns[-1].calls)
        if not manner.retells:
            return manner.answered(texts, to_calls), False
        self._messages += manner.messages(texts, to_calls)
        whole = manner.written(self._messages)
        end = end_in(manner.tokenizer, self._sample, whole)
        if end is None:
            self._sample = list(whole)
            return whole, True
        self._sample += whole[end:]
        return whole[end:], False


def end_in(tokenizer: Tokenizer, sample: Sequence[int], whole: Sequence[int]) -> int | None:
    """Where in `whole` the text of `sample` ends; None if `whole` does not begin with it.

    It has to end there with the same control token, and to have the same ones on the way: what stands between two is
    encoded by itself, so that the rest of `whole` is what it would be after any other tokens of the same text.
    """
    if list(whole[: len(sample)]) == list(sample):
        return len(sample)
    mine, theirs = _parts(tokenizer, sample), _parts(tokenizer, whole)
    if not sample or sample[-1] not in tokenizer.control_ids or len(theirs) < len(mine):
        return None
    end = 0
    for (text, control, _), (other, same, after) in zip(mine, theirs, strict=False):
        if control != same or (text != other and tokenizer.decode(text) != tokenizer.decode(other)):
            return None
        end = after
    return end


def _parts(tokenizer: Tokenizer, ids: Sequence[int]) -> list[tuple[list[int], int, int]]:
    """(ids before it, control token, place after it) for each control token."""
    found, start = [], 0
    for place, token in enumerate(ids):
        if token in tokenizer.control_ids:
            found.append((list(ids[start:place]), token, place + 1))
            start = place + 1
    return found
