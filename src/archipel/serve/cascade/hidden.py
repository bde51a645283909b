"""What a served model makes of a question before it says anything: its mean hidden state.

Law: it is read between the steps of others, a block at a time, so that a long question holds up nobody's stream.
"""

import asyncio
from datetime import datetime
from typing import cast

from archipel.engine.engine import LocalEngine
from archipel.engine.protocol import OpenEngine
from archipel.engine.reading import Reading
from archipel.records.requests import InvalidRequest
from archipel.serve.cascade.heads import Floats
from archipel.serve.question import Question, TooLong
from archipel.serve.served import Served


class NoHidden(ValueError):
    """Its engine shows no hidden states."""


def begun(engine: OpenEngine, prompt: tuple[int, ...], adapter: str | None) -> Reading:
    """Reading this prompt.

    Raises:
        NoHidden: the engine is another than this software's on one machine. InvalidRequest: too long.
    """
    if not isinstance(engine, LocalEngine):
        raise NoHidden("this engine shows no hidden states; expected a model on one machine")
    reading = engine.reading(prompt, adapter)
    reading.step()
    return reading


async def hidden_of(
    served: Served, question: Question, key: str, now: datetime, adapter: str | None = None
) -> Floats:
    """(d,) mean over the question's positions of the last hidden state after the final norm, by the weights alone unless
    `adapter` names one.

    Raises:
        TooLong: for this model. Refusal: it makes no sense, or too much is waiting.
    """
    prompt = await served.aside.do(served.prompt_of, question, now)
    try:
        reading = await asyncio.wrap_future(
            served.desk.run(lambda engine: begun(engine, prompt, adapter), key)
        )
    except InvalidRequest as error:
        raise TooLong(str(error)) from None
    while not reading.is_whole:
        await asyncio.wrap_future(served.desk.run(lambda _: reading.step(), key))
    return cast(Floats, reading.mean.double().numpy())
