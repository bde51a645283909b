"""What does not fit is refused before it is loaded, with both numbers and what would fit."""

import resource
from pathlib import Path

import pytest

from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.model.tokenizer import character_tokenizer
from archipel.node.introduction import _memory_mb
from archipel.node.opening import terms_and_pace
from archipel.node.settings import NodeSettings
from archipel.planning.laws.holding import Thrift
from archipel.records.recipe import MemorySection
from archipel.work import memory, policies, readiness, room, start_check
from archipel.work.faults import failed
from archipel.work.kind import EngineChoice, MachineUnfit
from archipel.work.kinds import rollout as rollouts
from archipel.work.kinds.update import Updates
from archipel.work.readiness import shortcomings
from archipel.work.room import fitting, free_bytes, run_node_need, update_need
from engine.engine_models import lively_state
from tiny import SECRET, tiny_recipe
from work.first_work import first_work
from work.trusted import Trusted

LITTLE = 100_000_000
RECIPE = tiny_recipe(3, 0)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = character_tokenizer()
    config = DecoderConfig.from_section(RECIPE.model, tokenizer)
    folder = tmp_path_factory.mktemp("start") / "model"
    write_model(folder, lively_state(config), config, tokenizer)
    return folder


def config_of(millions: int) -> DecoderConfig:
    """About so many million parameters."""
    layers = max(1, round(millions / 3.2))
    return DecoderConfig("llama", 4096, 512, layers, 8, 8, 64, 1408, 4096)


def proc(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> None:
    """A machine whose /proc and /sys/fs/cgroup have these files; `__` stands for a slash."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(room, "_PROC", folder / "proc")
    monkeypatch.setattr(room, "_GROUPS", folder / "groups")


def test_what_is_free_is_the_least_of_machine_container_and_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc(tmp_path, monkeypatch)
    assert free_bytes() is None
    meminfo = "MemTotal:  9000 kB\nMemAvailable:    4000 kB\n"
    proc(tmp_path, monkeypatch, proc__meminfo=meminfo, proc__self__cgroup="0::/a/b\n")
    assert free_bytes() == 4000 * 1024
    proc(tmp_path, monkeypatch, groups__a__b__placeholder="")
    (tmp_path / "groups/a/b/memory.max").write_text("max\n")
    (tmp_path / "groups/a/b/memory.current").write_text("1000\n")
    assert free_bytes() == 4000 * 1024
    (tmp_path / "groups/a/b/memory.max").write_text("3000000\n")
    (tmp_path / "groups/a/b/memory.stat").write_text("anon 7\ninactive_file 400\n")
    assert free_bytes() == 3_000_000 - 1000 + 400
    (tmp_path / "groups/a/b/memory.current").write_text("4000000\n")
    assert free_bytes() == 0
    (tmp_path / "groups/a/b/memory.current").write_text("\N{SUPERSCRIPT TWO} many\n")
    assert free_bytes() == 4000 * 1024


def test_a_first_version_of_control_groups_is_understood_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc(tmp_path, monkeypatch, proc__self__cgroup="4:memory:/x\n3:cpu:/y\nno line\n")
    folder = tmp_path / "groups/memory"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("5000\n")
    (folder / "memory.usage_in_bytes").write_text("2000\n")
    assert free_bytes() == 3000


def test_a_bound_on_address_space_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proc(tmp_path, monkeypatch, proc__self__statm="10 5 3 1 0 4 0\n")
    monkeypatch.setattr(resource, "getrlimit", lambda what: (1_000_000, 2_000_000))
    assert free_bytes() == 1_000_000 - 10 * resource.getpagesize()


def test_no_run_opens_that_does_not_fit_unless_it_is_learned_elsewhere(
    start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda: LITTLE)
    monkeypatch.setattr(readiness, "read_any_model", lambda *_: pytest.fail("it was loaded"))
    (found,) = shortcomings(RECIPE, start, SECRET)
    assert found.startswith("learning needs 0.3 GB, this machine has 0.1 GB free; ")
    monkeypatch.undo()
    monkeypatch.setattr(room, "free_bytes", lambda: LITTLE)
    assert shortcomings(RECIPE, start, SECRET, learns_here=False) == []


def test_an_update_and_a_node_that_do_not_fit_load_nothing_and_say_it_is_the_machine(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, context = first_work(RECIPE, start, tmp_path)
    for where in (room, start_check):
        monkeypatch.setattr(where, "free_bytes", lambda: 1000)
    monkeypatch.setattr(memory, "read_model", lambda *_: pytest.fail("it was loaded"))
    monkeypatch.setattr(policies, "decode_anchor", lambda *_: pytest.fail("it was loaded"))
    node = rollouts.make(EngineChoice())
    (tmp_path / "other").mkdir()
    with pytest.raises(MachineUnfit, match=r"learning needs .* GB, this machine has 0.3 GB") as no:
        Trusted(tmp_path / "other", start, RECIPE).ask(Updates(), "memory")
    assert failed(no.value).fault == "machine"
    with pytest.raises(MachineUnfit, match=r"sampling this run needs .* GB, this machine has 0.3"):
        node.run(spec, context, lambda tokens: None)


def test_what_would_fit_fits() -> None:
    config = config_of(60)
    need, least = (update_need(RECIPE, config, tokens).peak for tokens in (None, 512))
    said = fitting(RECIPE, config, (need + least) // 2)
    assert said.startswith("optimiser.micro_batch_tokens = ")
    chosen = int(said.split(" = ")[1].split()[0])
    assert update_need(RECIPE, config, chosen).peak <= (need + least) // 2 < need
    few = RECIPE.optimiser.model_copy(update={"micro_batch_tokens": 128})
    small = RECIPE.model_copy(update={"optimiser": few})
    adapted = update_need(small, config, rank=room.RANK).peak
    assert fitting(small, config, adapted).startswith("LoRA rank 16 needs ")
    words = fitting(RECIPE, config, 7 * 10**8)
    most = int(words.split("about ")[1].split()[0])
    assert 0 < most < 60
    least_of_all = update_need(
        RECIPE, config_of(most // 2), room.LEAST_MICRO_BATCH, thrift=Thrift(True, True, True)
    )
    assert least_of_all.peak <= 7 * 10**8


def test_memory_is_proposed_as_the_recipe_says_it_and_what_is_proposed_fits() -> None:
    """From fewer tokens to saved layers, narrow moments and weights, to an adapter, the less is free."""
    config, few = config_of(60), RECIPE.optimiser.model_copy(update={"micro_batch_tokens": 128})
    long = RECIPE.sampling.model_copy(update={"max_new_tokens": 2000})
    recipe = RECIPE.model_copy(update={"optimiser": few, "sampling": long})
    told = []
    for words, change in room._changes(recipe):
        need = update_need(recipe, config, **change).peak
        said = fitting(recipe, config, need)
        told.append(said)
        assert float(said.split(" needs ")[1].split()[0]) * 1e9 <= need + 5e7, words
    assert told[1].startswith("memory.recompute_layers = true needs ")
    both = 'memory.recompute_layers = true and memory.moments = "8bit"'
    assert any(said.startswith(f"{both} needs") for said in told)
    assert any(said.startswith(f'{both} and memory.compute = "bfloat16" needs') for said in told)
    assert told[-1].startswith("LoRA rank 16 ")
    assert told[-1].endswith(" ([adapter] in the recipe)")
    thrifty = recipe.model_copy(
        update={"memory": MemorySection(compute="bfloat16", recompute_layers=True, moments="8bit")}
    )
    assert update_need(thrifty, config).peak < 0.7 * update_need(recipe, config).peak
    assert not any("memory." in words for words, _ in room._changes(thrifty))


def test_a_run_states_what_sampling_it_takes_and_a_node_what_it_has(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, pace = terms_and_pace(RECIPE, start)
    config = DecoderConfig.from_section(RECIPE.model, character_tokenizer())
    assert pace.memory_mb == -(-run_node_need(RECIPE, config).peak // 10**6)
    settings = NodeSettings(lab_url="http://lab", home=tmp_path, max_memory_bytes=5 * 10**9)
    monkeypatch.setattr("archipel.node.introduction.free_bytes", lambda: 7 * 10**9)
    assert _memory_mb(settings) == 5000
    monkeypatch.setattr("archipel.node.introduction.free_bytes", lambda: 3 * 10**9)
    assert _memory_mb(settings) == 3000
    there = NodeSettings(lab_url="http://lab", home=tmp_path, device="cuda")
    assert _memory_mb(there) is None


def test_the_room_is_asked_for_once_a_run(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, context = first_work(RECIPE, start, tmp_path)
    node = rollouts.make(EngineChoice())
    node.run(spec, context, lambda tokens: None)
    monkeypatch.setattr(start_check, "free_bytes", lambda: 0)
    node.run(spec, context, lambda tokens: None)
