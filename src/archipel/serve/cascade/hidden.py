"""What a served model makes of a question before it says anything: its mean hidden state."""

from datetime import datetime
from typing import cast

from archipel.serve.cascade.heads import Floats
from archipel.serve.question import Question
from archipel.serve.reader import Reader
from archipel.serve.served import Served


async def hidden_of(
    served: Served, question: Question, key: str, now: datetime, adapter: str | None = None
) -> Floats:
    """(d,) mean over the question's positions of the last hidden state after the final norm, by the weights alone unless
    `adapter` names one.

    Raises:
        TooLong: for this model. Refusal: it makes no sense, or too much is waiting.
    """
    reader = Reader(served, served.desk, served.asides)
    reading = await reader.read(question, key, now, adapter)
    return cast(Floats, reading.mean.double().numpy())
