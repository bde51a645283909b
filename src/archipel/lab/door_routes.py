"""What became of a door's question, over HTTP: long poll with a deadline."""

import asyncio
from typing import Annotated

from fastapi import FastAPI, Path, Query, Request

from archipel.lab.door_views import ENDS, Standing, numbers, standing
from archipel.lab.doorman import Doorman
from archipel.lab.lab import MAX_WAIT_S, Lab
from archipel.lab.refusals import Unknown
from archipel.lab.requests import address_of, while_connected
from archipel.lab.state import Run
from archipel.records.canonical import MAX_SAFE_INTEGER
from archipel.records.door_documents import QuestionsView, QuestionView

Number = Annotated[int, Path(ge=1, le=MAX_SAFE_INTEGER)]
WaitS = Annotated[float, Query(ge=0, le=MAX_WAIT_S)]


def door_routes(api: FastAPI, lab: Lab, doorman: Doorman) -> None:
    """Add them."""

    @api.get(
        "/runs/{name}/questions/{number}",
        summary="What became of a door's question; long poll until it is answered or gone",
    )
    async def question(
        request: Request, name: str, number: Number, wait_s: WaitS = 0.0
    ) -> QuestionView:
        found = _standing(lab, name, number)
        if wait_s and found.place not in ENDS:
            address = address_of(request)
            doorman.begin_waiting(address)
            try:
                await while_connected(request, _ended(lab, name, number, wait_s))
            finally:
                doorman.end_waiting(address)
            found = _standing(lab, name, number)
        return await _view(lab, name, number, found)

    @api.get("/runs/{name}/questions", summary="A door's questions that are not gone, by number")
    async def questions(name: str) -> QuestionsView:
        following, listed = numbers(_run(lab, name), lab.clock_ms())
        return QuestionsView(run=name, next_number=following, numbers=listed)


async def _ended(lab: Lab, name: str, number: int, wait_s: float) -> None:
    loop = asyncio.get_running_loop()
    until_s = loop.time() + wait_s
    while not lab.news.is_closed and _standing(lab, name, number).place not in ENDS:
        left_s = until_s - loop.time()
        if left_s <= 0:
            return
        await lab.news.of(name, left_s)


def _standing(lab: Lab, name: str, number: int) -> Standing:
    return standing(lab.state, _run(lab, name), number, lab.clock_ms())


def _run(lab: Lab, name: str) -> Run:
    run: Run | None = lab.state.runs.get(name)
    if run is None:
        raise Unknown(f"no run {name!r:.80}; this lab has {sorted(lab.state.runs)[:8]}")
    return run


async def _view(lab: Lab, name: str, number: int, found: Standing) -> QuestionView:
    answer = found.answer
    return QuestionView(
        run=name,
        number=number,
        place=found.place,
        came_back=found.came_back,
        node=found.node,
        grant=None if found.grant is None else await lab.records.at(found.grant),
        answered=None if answer is None else await lab.records.at(answer.entry),
        question=found.question,
    )
