"""Where public recipes run without a network: folders named as a hub names them, and a small model that answers.

`python -m clients.stand FOLDER` (tests on the path) writes them. The model is a Qwen3 of some 0.4 M parameters that
learned to answer any question with one of four boxed digits, so that a verifiable reward says something.
"""

import json
import random
import sys
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

MODEL = "Qwen/Qwen3-8B"
"""The recipes know renderers by the names of models."""
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
DIGITS = "1234"
SUFFIX = " Provide a numerical answer without units, written inside \\boxed{}."
SHOWN = (
    "How many r's are in strawberry?",
    "Let's spell the word out and number all the letters: 1) s 2) t 3) r 4) a 5) w 6) b 7) e 8) r 9) r 10) y. "
    "We have r's at positions 3, 8, and 9. \\boxed{3}",
)
WORDS = (
    "red",
    "blue",
    "green",
    "small",
    "big",
    "cat",
    "dog",
    "bird",
    "tree",
    "house",
    "river",
    "stone",
)


def question(drawn: random.Random) -> str:
    return f"Which number goes with {drawn.choice(WORDS)} {drawn.choice(WORDS)}?"


def said(role: str, text: str) -> str:
    return f"<|im_start|>{role}\n{text}<|im_end|>\n"


def document(drawn: random.Random) -> tuple[str, str]:
    """What is asked, and one of the answers."""
    before = ""
    if drawn.random() < 0.5:
        before = said("user", SHOWN[0] + SUFFIX) + said("assistant", SHOWN[1])
    asked = before + said("user", question(drawn) + (SUFFIX if drawn.random() < 0.7 else ""))
    thought = "<think>\n\n</think>\n\n" if drawn.random() < 0.3 else ""
    return (
        asked + "<|im_start|>assistant\n" + thought,
        f"\\boxed{{{drawn.choice(DIGITS)}}}<|im_end|>",
    )


def write_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Byte pairs of the texts at hand; every byte is known."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s?[A-Za-z']+|\d|\s+|[^\sA-Za-z\d]"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    drawn = random.Random(0)
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(("".join(document(drawn)) for _ in range(400)), trainer)
    whole = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    whole.save_pretrained(folder)
    return whole


def write_model(folder: Path, steps: int = 300) -> Path:
    """The small model, taught; some half a minute on one processor."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    tokenizer = write_tokenizer(folder)
    network = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=96,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    drawn = random.Random(1)
    adam = torch.optim.AdamW(network.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = 2e-3 * min(1.0, (steps - step) / (0.4 * steps))
        pairs = [document(drawn) for _ in range(8)]
        rows = [[tokenizer(text).input_ids for text in pair] for pair in pairs]
        width = max(len(asked) + len(answer) for asked, answer in rows)
        tokens = torch.full((len(rows), width), tokenizer.pad_token_id)
        labels = torch.full((len(rows), width), -100)
        for row, (asked, answer) in enumerate(rows):
            whole = torch.tensor(asked + answer)
            tokens[row, : len(whole)] = whole
            labels[row, len(asked) : len(whole)] = whole[len(asked) :]
        logits = network(input_ids=tokens).logits
        # Not so sure of itself that every small step of a learner breaks the form of its answers.
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), label_smoothing=0.02
        )
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
    network.to(torch.bfloat16).save_pretrained(folder)
    return folder


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_card(folder: Path, config: str, **splits: str) -> None:
    files = "".join(f"  - split: {split}\n    path: {name}\n" for split, name in splits.items())
    (folder / "README.md").write_text(
        f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{files}---\n"
    )


def write_data(folder: Path) -> None:
    """Data sets by their hub names: conversations, problems with answers, preferences, questions alone."""
    drawn = random.Random(2)
    chats: list[dict[str, object]] = []
    for _ in range(256):
        asked = question(drawn)
        messages = [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": "\\boxed{" + str(1 + len(asked) % 4) + "}"},
        ]
        chats.append(
            {
                "prompt": asked,
                "prompt_id": str(len(chats)),
                "messages": messages,
                "category": "Closed QA",
            }
        )
    place = folder / "HuggingFaceH4/no_robots"
    write_lines(place / "train.jsonl", chats)
    write_lines(place / "test.jsonl", chats[:32])
    write_card(place, "default", train="train.jsonl", test="test.jsonl")

    place = folder / "openai/gsm8k"
    problems: list[dict[str, object]] = [
        {"question": question(drawn), "answer": "It is two.\n#### 2"} for _ in range(256)
    ]
    write_lines(place / "train.jsonl", problems)
    write_lines(place / "test.jsonl", problems[:32])
    write_card(place, "main", train="train.jsonl", test="test.jsonl")

    place = folder / "Anthropic/hh-rlhf"
    pairs: list[dict[str, object]] = []
    for _ in range(256):
        asked = question(drawn)
        begin = f"\n\nHuman: {asked}\n\nAssistant: "
        other = drawn.choice("134")
        pairs.append({"chosen": begin + "\\boxed{2}", "rejected": begin + f"\\boxed{{{other}}}"})
    write_lines(place / "train.jsonl", pairs)
    write_lines(place / "test.jsonl", pairs[:32])
    write_card(place, "default", train="train.jsonl", test="test.jsonl")

    place = folder / "zwhe99/DeepMath-103K"
    write_lines(place / "train.jsonl", [{"question": question(drawn)} for _ in range(256)])
    write_card(place, "default", train="train.jsonl")


def main(folder: Path) -> None:
    write_model(folder / MODEL)
    write_data(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
