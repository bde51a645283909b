"""Episodes of an exact run, recomputed: what the model sampled is looked at, what the environment wrote is read."""

from dataclasses import replace

import torch

from archipel.engine.exact.replay import Recorded
from archipel.model.dialogue import chat_ids
from archipel.model.tokenizer import character_tokenizer
from archipel.records.episodes import RETOLD, turns_of
from archipel.records.recipe import PromptSection
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.training.episodes import Conduct
from archipel.training.manner import Manner
from exact.exact_models import exact_engine, replayer, world
from training.parrot import Parrot

torch.set_num_threads(1)
ENDS = (2, *range(10, 20))
LIMIT = 24


FORGETS = (
    "{% for m in messages %}<bos>{{ m.role[0] }}:{{ m.content if loop.last or m.role != 'assistant' else 'z' }}<eos>"
    "{% endfor %}{% if add_generation_prompt %}<bos>a:{% endif %}"
)


def test_each_sample_of_an_episode_is_recomputed_and_a_lie_is_found_where_it_stands() -> None:
    config, state = world("llama")
    tokenizer = replace(character_tokenizer(), end_ids=ENDS).with_chat_template(FORGETS)
    conduct = Conduct(Parrot(2), Manner(tokenizer, True, "plain", (), PromptSection()), 8)
    prompt = tuple(chat_ids(tokenizer, [{"role": "user", "content": "ax:"}]))
    asked = Request("0", prompt, 5, 4, 60, 1.0, ENDS)
    ((*played,),) = conduct.play(exact_engine(config, state, "w7a15").generate, [asked], "train")
    judge = replayer(config, state, "w7a15")
    assert judge.replay([Recorded(asked, dict(enumerate(played)))]).difference is None
    assert judge.replay([Recorded(asked, dict(enumerate(played)))]).rollouts == 4
    number = next(n for n, each in enumerate(played) if each.sampled.count(RETOLD))
    one = played[number]
    for start, _ in turns_of(one.sampled)[1:]:
        logprobs = list(one.logprobs)
        logprobs[start] -= 0.001
        lie = replace(one, logprobs=tuple(logprobs))
        found = judge.replay([Recorded(asked, {number: lie})]).difference
        assert (found.what, found.position) == ("log-probability", start)


def test_an_episode_is_recomputed_turn_by_turn_and_a_lie_is_found_where_it_stands() -> None:
    config, state = world("llama")
    tokenizer = replace(character_tokenizer(), end_ids=ENDS)
    conduct = Conduct(Parrot(), Manner(tokenizer, False, "plain", ()), 8)
    requests = [
        Request(str(n), tuple(tokenizer.encode_prompt("ab"))[: n + 1], n, 3, LIMIT, 1.0, ENDS)
        for n in range(3)
    ]
    played = conduct.play(exact_engine(config, state, "w7a15").generate, requests, "train")
    judge = replayer(config, state, "w7a15")

    def replayed(number: int, one: Rollout) -> tuple[str, int] | None:
        found = judge.replay([Recorded(requests[0], {number: one})]).difference
        return None if found is None else (found.what, found.position)

    recorded = [
        Recorded(request, dict(enumerate(group)))
        for request, group in zip(requests, played, strict=True)
    ]
    assert judge.replay(recorded).difference is None
    number, one = next(
        (n, each) for n, each in enumerate(played[0]) if len(turns_of(each.sampled)) > 1
    )
    (_, end), (start, _) = turns_of(one.sampled)[:2]
    logprobs = list(one.logprobs)
    logprobs[start] -= 0.001
    assert replayed(number, replace(one, logprobs=tuple(logprobs))) == ("log-probability", start)
    tokens = list(one.tokens)
    tokens[end] = 3 + tokens[end] % 60
    found = replayed(number, replace(one, tokens=tuple(tokens)))
    assert found is not None, "what follows an altered answer is not what would have been sampled"
    assert found[1] >= start
    short = Rollout(one.tokens[: end - 1], one.logprobs[: end - 1], False, one.sampled[: end - 1])
    if end > 1:
        assert replayed(number, short) == ("end", end - 2)
