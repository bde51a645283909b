"""`plan train`: published runs and allocations come back from their published inputs."""

import pytest

from planning.asked import constant, data, figures, value

LLAMA3 = {"params": "405B", "tokens": "15.6T", "accelerator": "h100", "count": "16384"}
DEEPSEEK = {"params": "671B", "active_params": "37B", "tokens": "14.8T", "accelerator": "h800"}


def test_llama_3_405b_takes_its_published_hours_at_its_published_utilisation() -> None:
    """Dubey et al. 2024 print 38 to 43% MFU, attention counted; the model card 30.84e6 H100-hours."""
    found = data("train", **LLAMA3, mfu="0.41", attention=True)
    assert value(found, "train.flop_6nd", "FLOP") == pytest.approx(3.8e25, rel=0.01)
    assert value(found, "train.accelerator_hours") == pytest.approx(30.84e6, rel=0.05)
    assert value(found, "train.mtbf", "h") == pytest.approx(3.1, rel=0.02)


def test_llama_65b_takes_21_days_on_2048_a100_at_380_tokens_a_second() -> None:
    """Touvron et al. 2023, section 2.4 and table 15: about 21 days, 1,022,362 A100-hours."""
    mfu = 6 * 65.2e9 * 380 / 312e12
    found = data(
        "train",
        params="65.2B",
        tokens="1.4T",
        accelerator="a100-80",
        count="2048",
        mfu=str(mfu),
        goodput="1",
    )
    assert value(found, "train.days", "day") == pytest.approx(21, rel=0.02)
    assert value(found, "train.accelerator_hours") == pytest.approx(1022362, rel=0.01)


def test_deepseek_v3_costs_its_published_hours_and_dollars_stage_by_stage() -> None:
    """DeepSeek-V3 table 1: 2,664k + 119k + 5k H800-hours, 5.576e6 USD at 2 USD an hour."""
    found = data(
        "train",
        **DEEPSEEK,
        price="2 USD/h",
        mfu=str(constant("mfu.deepseek-v3")),
        goodput="1",
        stage="all",
        shares="pretrain=2664,mid=119,sft=5",
    )
    assert value(found, "pretrain.hours") == pytest.approx(2.664e6, rel=0.005)
    assert value(found, "train.accelerator_hours") == pytest.approx(2.788e6, rel=0.005)
    assert value(found, "train.cost", "USD") == pytest.approx(5.576e6, rel=0.005)


def test_the_inference_that_llama_3_8b_reveals_stands_in_the_table_of_fits() -> None:
    found = data("train", params="8B", tokens="15T")
    assert value(found, "fit.hoffmann.revealed_tokens", "token") == pytest.approx(69e12, rel=0.02)
    assert value(found, "fit.besiroglu.revealed_tokens", "token") == pytest.approx(190e12, rel=0.01)
    assert value(found, "fit.hoffmann.balance") == pytest.approx(2.52, rel=0.005)
    assert value(found, "fit.besiroglu.balance") == pytest.approx(5.22, rel=0.005)


def test_sardanas_example_of_a_13b_quality_model_serving_2t_tokens() -> None:
    found = data("train", like="13B", inference_tokens="2T", fit="sardana")
    assert value(found, "train.params", "param") == pytest.approx(7e9, rel=0.01)
    assert value(found, "served.saving", "FLOP") == pytest.approx(1.7e22, rel=0.01)
    assert value(found, "served.saving_share", "percent") == pytest.approx(17, abs=0.5)


def test_muennighoffs_allocation_of_25b_unique_tokens() -> None:
    """huggingface/datablations README: 6.8B parameters, 227B tokens, 9.1 epochs."""
    found = data(
        "train", budget=f"{6 * 8.67e9 * 178e9} FLOP", unique_tokens="25B", fit="muennighoff"
    )
    assert value(found, "train.params", "param") == pytest.approx(6.8e9, rel=0.01)
    assert value(found, "train.tokens", "token") == pytest.approx(227e9, rel=0.01)
    assert value(found, "data.epochs") == pytest.approx(9.1, rel=0.01)


def test_rl_of_deepseek_r1_costs_its_published_dollars() -> None:
    """147,000 H800-hours at 2 USD: 294,000 USD."""
    found = data(
        "train",
        stage="rl",
        params="671B",
        active_params="37B",
        rl_hours="147000",
        accelerator="h800",
        price="2",
    )
    published = figures("learning")["deepseek-r1-cost"]["published"]
    assert value(found, "train.cost", "USD") == pytest.approx(published)


def test_hoffmanns_first_two_approaches_at_gophers_budget() -> None:
    """Hoffmann et al. 2022, table 3: 67B and 1.5T tokens by approach 1; 63B by approach 2 (section 3.2)."""
    found = data("train", budget="5.76e23 FLOP")
    first, second = "rule.hoffmann-approach1", "rule.hoffmann-approach2"
    assert value(found, f"{first}.params", "param") == pytest.approx(67e9, rel=0.02)
    assert value(found, f"{first}.tokens", "token") == pytest.approx(1.5e12, rel=0.06)
    assert value(found, f"{second}.params", "param") == pytest.approx(63e9, rel=0.02)


def test_kaplans_superseded_rule_counts_compute_in_petaflop_days() -> None:
    """Kaplan et al. 2020: N* = 1.3e9 C^0.73 with C in petaFLOP/s-days."""
    found = data("train", budget="8.64e19 FLOP")
    assert value(found, "rule.kaplan.params", "param") == pytest.approx(1.3e9, rel=1e-6)
