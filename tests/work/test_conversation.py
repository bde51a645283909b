"""A chat on this machine: what it asks the model, and that a turn that fails leaves no trace."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from archipel.cli.archipel import run
from archipel.model.adapter import Adapter, adapter_shapes, merged
from archipel.model.adapter_files import write_adapter
from archipel.model.config import DecoderConfig
from archipel.model.dialogue import chat_ids
from archipel.model.directory import InvalidModel, read_model, write_model
from archipel.model.manifest import Over
from archipel.model.network import Decoder, random_weights
from archipel.model.tokenizer import InvalidTokenizer, Tokenizer, byte_tokenizer
from archipel.records.recipe_model import AdapterSection
from archipel.training.groups import prompt_ids
from archipel.work.bases import read_base
from archipel.work.conversation import Conversation
from archipel.work.folders import folder_of

torch.set_num_threads(1)
ALTERNATE = (
    "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}[{{ m.role }}]{{ m.content }}"
    "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
DATED = "{{ bos_token }}{{ strftime_now('%Y-%m-%d') }}{{ messages[-1].content }}"


def outcome(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    return int(ended.value.code or 0), capsys.readouterr().err


def a_model() -> Decoder:
    config = DecoderConfig(
        family="llama", vocab_size=259, hidden_size=16, num_layers=1, num_heads=2, num_kv_heads=1,
        head_dim=8, intermediate_size=16, max_position_embeddings=64, bos_token_id=1,
        eos_token_ids=(2, 70), pad_token_id=0,
    )  # fmt: skip
    return random_weights(config, 0)


def write(path: Path, template: str | None, model: Decoder | None = None) -> Path:
    model = model or a_model()
    tokenizer = byte_tokenizer()
    write_model(
        path, model, model.config, tokenizer.with_chat_template(template) if template else tokenizer
    )
    return path


def talk(path: Path) -> Conversation:
    return Conversation(path, max_new_tokens=3, temperature=0.0, seed=0)


def test_a_turn_that_fails_leaves_no_trace(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", ALTERNATE)
    talked, untouched = talk(folder), talk(folder)
    for _ in range(2):
        with pytest.raises(ValueError, match="leave no room"):
            talked.answer("x" * 200)
    for line in ("hi", "hello"):
        assert talked.answer(line) == untouched.answer(line)


def test_the_date_is_todays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "m", DATED)
    conversation, asked = talk(folder), []
    monkeypatch.setattr(conversation, "_complete", lambda prompt: asked.append(prompt) or "")
    conversation.answer("hi", datetime(2031, 2, 3, tzinfo=UTC))
    assert conversation.tokenizer.decode(asked[0]) == "2031-02-03hi"
    assert outcome(["chat", str(folder), "--prompt", "hi"], capsys)[0] == 0


def test_training_asks_as_chat_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "what is <eos> here?"
    for template in (ALTERNATE, None):
        conversation, asked = talk(write(tmp_path / f"{template is None}", template)), []
        monkeypatch.setattr(
            conversation, "_complete", lambda prompt, a=asked: a.append(prompt) or ""
        )
        conversation.answer(line)
        tokenizer = conversation.tokenizer
        assert asked == [prompt_ids(tokenizer, line)]
        assert [each for each in asked[0] if each < 3] == [1]
        if template is not None:
            messages = [{"role": "user", "content": line}]
            assert asked[0] == tuple(chat_ids(tokenizer, messages))


def test_any_end_token_of_the_folder_ends_an_answer(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", None)
    conversation = talk(folder)
    assert Tokenizer.from_directory(folder).stop_ids == (2, 70)
    endless = conversation.answer("hi")
    assert len(conversation.tokenizer.encode(endless)) == 3, (
        "the model must go on for this to mean much"
    )
    said = conversation.tokenizer.encode(endless)[0]
    (folder / "generation_config.json").write_text(f'{{"eos_token_id": [2, {said}]}}')
    assert conversation.tokenizer.encode(talk(folder).answer("hi")) == [said]


def test_broken_weights_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = a_model()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    folder = write(tmp_path / "m", None, model)
    recipe = tmp_path / "r.toml"
    recipe.write_text('[run]\nname="x"\nversions=1\n[environment]\nname="secret_order"\n'
                      "[sampling]\nmax_new_tokens=4\n")  # fmt: skip
    secret = tmp_path / "secret"
    secret.write_bytes(b"s")
    for words in (
        ["chat", str(folder), "--prompt", "hi"],
        ["eval", str(folder), str(recipe), "--secret-file", str(secret), "--tasks", "4"],
    ):
        code, said = outcome(words, capsys)
        assert code == 1
        assert "check the weights" in said
        assert len(said.strip().splitlines()) == 1, said


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("pytorch_model.bin", "it holds pytorch_model.bin, a pickle"),
        ("adapter_model.safetensors", "it holds an adapter only"),
        ("model-q4.gguf", "it holds model-q4.gguf; expected"),
    ],
)
def test_weights_of_another_form_are_named_before_the_tokenizer_that_lacks_too(
    tmp_path: Path, file: str, found: str
) -> None:
    folder = write(tmp_path / "m", None)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InvalidTokenizer, match=r"has no tokenizer\.json"):
        talk(folder)
    (folder / "model.safetensors").rename(folder / file)
    with pytest.raises(InvalidModel, match=rf"has no model\.safetensors: {found}"):
        talk(folder)


def test_an_adapter_is_talked_to_over_its_model_and_over_no_other(tmp_path: Path) -> None:
    whole, folder = write(tmp_path / "m", None), tmp_path / "a"
    base = read_base(whole)
    form = AdapterSection(rank=2, alpha=64.0).form
    shapes = adapter_shapes(base.config, form)
    state = {name: torch.ones(shape).bfloat16() for name, shape in shapes.items()}
    write_adapter(folder, Adapter(form, state), Over(base.digest, form), "no/where")
    with pytest.raises(InvalidModel, match=r"--base .*says 'no/where'"):
        Conversation(folder, 3, 0.0, 0)
    with pytest.raises(InvalidModel, match=r"leave out --base"):
        folder_of(whole, whole)
    adapted, plain = (
        Conversation(folder_of(folder, whole), 3, 0.0, 0),
        Conversation(whole, 3, 0.0, 0),
    )
    assert adapted.answer("a") != plain.answer("a")
    merging = tmp_path / "merged"
    merged_state = merged(base.state, Adapter(form, state), base.config)
    write_model(merging, merged_state, base.config, Tokenizer.from_directory(whole))
    assert Conversation(merging, 3, 0.0, 0).answer("a") == adapted.answer("a")
    with pytest.raises(InvalidModel, match="lies over the weights sha256"):
        Conversation(folder_of(folder, merging), 3, 0.0, 0)
    for file in folder.iterdir():
        shutil.copy(file, whole)
    with pytest.raises(InvalidModel, match="beside its model"):
        read_model(whole)


def test_an_answer_ends_before_a_stop_string_and_the_chat_remembers_what_was_said(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path / "model", None)
    whole = Conversation(folder, 24, 1.0, 5).answer("abc")
    stop = whole[3:5]
    assert len(stop) == 2, whole
    cut = Conversation(folder, 24, 1.0, 5, stop=(stop, "no such text")).answer("abc")
    assert cut == whole[: whole.index(stop)]
