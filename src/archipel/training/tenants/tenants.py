"""Turns of several tenants into outcomes: whose rows pass together, in which order gradients are added up.

Parts: `Tenants`, `TenantTurn`. A forward and backward pass of a tenant is cut into **pieces** of whole sequences by
its own data alone; a pass takes the next piece of each tenant until it is full.
Law: see the room; pieces of one operation are added up in their order, and an operation that is refused changes nothing.
After a refused one the turn's later operations are refused too: they were asked for in the belief that it was done.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from archipel.model.network import Decoder
from archipel.records.adapter import AdapterForm
from archipel.training.tenants.checks import fault_of
from archipel.training.tenants.losses import constants_of, loss_and_slope
from archipel.training.tenants.operations import (
    Datum,
    ForwardBackward,
    Operation,
    OptimStep,
    Outcome,
    Refused,
    Scored,
    Stepped,
)
from archipel.training.tenants.resident import Pass, Resident
from archipel.training.tenants.rows import LowRank, Span
from archipel.training.tenants.state import NotFinite, TenantState

PIECE_TOKENS = 512
"""A tenant's rows in a pass, unless a single sequence is longer. It decides in which order gradients are added up."""
PASS_TOKENS = 512
"""All rows of a pass, unless the first piece is longer: what bounds its memory."""
AFTER_REFUSED = "an earlier operation of this model was refused, so this one was not done"


@dataclass(frozen=True, eq=False)
class TenantTurn:
    """Operations of one tenant, in order."""

    state: TenantState
    operations: tuple[Operation, ...]


def pieces_of(data: Sequence[Datum]) -> Iterator[tuple[Datum, ...]]:
    """Whole sequences, in order, up to `PIECE_TOKENS` tokens each."""
    piece: list[Datum] = []
    tokens = 0
    for datum in data:
        length = datum.tokens_T.shape[0]
        if piece and tokens + length > PIECE_TOKENS:
            yield tuple(piece)
            piece, tokens = [], 0
        piece.append(datum)
        tokens += length
    if piece:
        yield tuple(piece)


@dataclass(eq=False)
class Going:
    """A turn that is being worked on: an operation, and how far it went."""

    turn: TenantTurn
    outcomes: list[Outcome] = field(default_factory=list)
    pieces: list[tuple[Datum, ...]] = field(default_factory=list)
    """Still to pass, of the operation at hand."""
    gradient: Tensor | None = None
    products: Mapping[str, LowRank] = field(default_factory=dict)
    logprobs: list[np.ndarray] = field(default_factory=list)
    loss: float = 0.0
    tokens: int = 0

    @property
    def at_hand(self) -> Operation | None:
        done = len(self.outcomes)
        return self.turn.operations[done] if done < len(self.turn.operations) else None

    @property
    def passing(self) -> ForwardBackward:
        """The operation whose pieces there are."""
        operation = self.at_hand
        if not isinstance(operation, ForwardBackward):
            raise TypeError(f"{type(operation).__name__} has no rows")
        return operation

    def prepare(self) -> None:
        """Before an operation's first pass, and not earlier: who waits for one has no gradient yet."""
        if self.products:
            return
        layout, slopes = self.turn.state.layout, dict[str, tuple[Tensor, Tensor]]()
        if not self.passing.forward_only:
            self.gradient = torch.zeros(layout.size)
            slopes = {name: (a, b) for name, a, b in layout.pairs(self.gradient)}
        self.products = {
            name: LowRank(low, high, layout.form.scale, *slopes.get(name, (None, None)))
            for name, low, high in layout.pairs(self.turn.state.masters)
        }

    def end(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if isinstance(outcome, Refused):
            left = len(self.turn.operations) - len(self.outcomes)
            self.outcomes += [Refused(AFTER_REFUSED)] * left


class Tenants:
    """Over one resident model. Not for two threads at once."""

    def __init__(self, decoder: Decoder) -> None:
        """decoder: taken over, see `Resident`."""
        self._resident = Resident(decoder)
        self.config = self._resident.config

    def create(self, form: AdapterForm, seed: int) -> TenantState:
        """An adapter that changes nothing yet.

        Raises:
            WrongTensors: this family has no such layer.
        """
        return TenantState.drawn(form, self.config, seed)

    def run(
        self, turns: Sequence[TenantTurn], on_pass: Callable[[], None] | None = None
    ) -> list[tuple[Outcome, ...]]:
        """What comes of every operation, turn by turn; each state goes on as its operations say.

        on_pass: told after every pass. The states are of different tenants.
        """
        going = [self.begin(turn) for turn in turns]
        while waiting := [each for each in going if self.ready(each)]:
            self.advance(chosen(waiting))
            if on_pass is not None:
                on_pass()
        return [tuple(each.outcomes) for each in going]

    def begin(self, turn: TenantTurn) -> Going:
        """A turn whose first operation is at hand; `ready` and `advance` carry it on."""
        return Going(turn)

    def ready(self, going: Going) -> int:
        """Rows of its next piece, once all that needs no pass is done; 0: it has ended, and `outcomes` are all there."""
        self._until_rows(going)
        return sum(datum.tokens_T.shape[0] for datum in going.pieces[0]) if going.pieces else 0

    def advance(self, chosen: Sequence[Going]) -> None:
        """One pass over the next piece of each, all of which are ready."""
        self._pass(chosen)
        for each in chosen:
            self._until_rows(each)

    def _until_rows(self, going: Going) -> None:
        """Do what needs no pass: steps, refusals, and the end of an operation whose pieces have all passed."""
        while not going.pieces and (operation := going.at_hand) is not None:
            if going.logprobs:
                self._end(going)
            elif fault := fault_of(operation, self.config):
                going.end(Refused(fault))
            elif isinstance(operation, OptimStep):
                going.end(_stepped(going.turn.state, operation))
            else:
                going.pieces = list(pieces_of(operation.data))

    def _pass(self, chosen: Sequence[Going]) -> None:
        data = [datum for each in chosen for datum in each.pieces[0]]
        spans, start = [], 0
        for each in chosen:
            each.prepare()
            stop = start + sum(datum.tokens_T.shape[0] for datum in each.pieces[0])
            spans.append(Span(start, stop, each.products))
            start = stop
        asked = Pass(
            torch.from_numpy(np.concatenate([each.tokens_T for each in data]).astype(np.int64)),
            torch.from_numpy(np.concatenate([each.inputs["target_tokens"] for each in data])),
            tuple(each.tokens_T.shape[0] for each in data),
            tuple(spans),
        )
        hidden_Nd, logprobs_N = self._resident.scored(asked)
        slopes = [
            _slopes(each, logprobs_N[span.start : span.stop])
            for each, span in zip(chosen, spans, strict=True)
        ]
        if hidden_Nd.requires_grad:
            self._resident.learn(asked, hidden_Nd, torch.cat(slopes))
        for each in chosen:
            del each.pieces[0]

    def _end(self, going: Going) -> None:
        going.end(_ended(going))
        going.gradient, going.products = None, {}
        going.logprobs, going.loss, going.tokens = [], 0.0, 0


def chosen(waiting: Sequence[Going]) -> list[Going]:
    """Next pieces, in the order of the turns, until a pass is full."""
    found: list[Going] = []
    rows = 0
    for each in waiting:
        size = sum(datum.tokens_T.shape[0] for datum in each.pieces[0])
        if not found or rows + size <= PASS_TOKENS:
            found.append(each)
            rows += size
    return found


def _slopes(going: Going, logprobs_N: Tensor) -> Tensor:
    """The loss's gradient by each of a piece's log-probabilities; notes what passed."""
    operation, start, slopes = going.passing, 0, []
    constants = constants_of(operation.loss, operation.config)
    for datum in going.pieces[0]:
        stop = start + datum.tokens_T.shape[0]
        own_T = logprobs_N[start:stop].clone()
        inputs = {
            name: torch.from_numpy(np.array(values))
            for name, values in datum.inputs.items()
            if name != "target_tokens"
        }
        loss, slope_T = loss_and_slope(operation.loss, constants, own_T, inputs)
        going.loss += loss
        going.tokens += stop - start
        going.logprobs.append(own_T.numpy())
        slopes.append(slope_T if going.gradient is not None else torch.zeros_like(slope_T))
        start = stop
    return torch.cat(slopes)


def _ended(going: Going) -> Outcome:
    """Of an operation whose pieces have all passed."""
    finite = np.isfinite(going.loss) and all(np.isfinite(each).all() for each in going.logprobs)
    try:
        if finite and going.gradient is not None:
            going.turn.state.gather(going.gradient)
    except NotFinite:
        finite = False
    if not finite:
        return Refused(
            f"the loss is {going.loss:g}, and it or its gradient is not finite; nothing was added to the gradient: look "
            "at weights, advantages and the learning rate of earlier steps"
        )
    metrics = {"loss:sum": going.loss, "tokens:sum": float(going.tokens)}
    return Scored(tuple(going.logprobs), metrics)


def _stepped(state: TenantState, asked: OptimStep) -> Outcome:
    try:
        return Stepped(state.step(asked))
    except NotFinite as error:
        return Refused(str(error))
