"""Records what PEFT computes: `python tests/model/peft_vector.py tests/vectors/peft-1.json`, where peft is installed."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from archipel.model.adapter import Adapter, adapter_shapes
from archipel.model.config import DecoderConfig
from archipel.model.network import Decoder, random_weights
from archipel.records.adapter import AdapterForm
from archipel.records.recipe_model import AdapterSection

TOKENS = (1, 5, 9, 2, 60, 33, 17, 8)
FORMS = {
    "all": AdapterSection(rank=4, alpha=8.0).form,
    "some, rank-stabilised": AdapterSection(
        rank=3, alpha=5.0, targets=("q_proj", "v_proj", "down_proj"), rank_stabilised=True
    ).form,
}


def config() -> DecoderConfig:
    return DecoderConfig(
        family="qwen2", vocab_size=64, hidden_size=32, num_layers=2, num_heads=4, num_kv_heads=2,
        head_dim=8, intermediate_size=48, max_position_embeddings=64, eos_token_ids=(2,),
    )  # fmt: skip


def base() -> Decoder:
    """bf16 values in fp32."""
    model = random_weights(config(), 7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter * 5).bfloat16())
    return model


def adapter(form: AdapterForm) -> Adapter:
    generator = torch.Generator().manual_seed(form.rank)
    shapes = sorted(adapter_shapes(config(), form).items())
    return Adapter(
        form,
        {name: (torch.randn(s, generator=generator) * 0.2).bfloat16() for name, s in shapes},
    )


def by_peft(folder: Path, over: Path) -> torch.Tensor:
    """Logits (T, V) of `TOKENS` as PEFT computes them from an adapter's directory."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(over, dtype=torch.float32)
    with torch.no_grad():
        return PeftModel.from_pretrained(plain, folder)(torch.tensor([TOKENS])).logits[0]


def saved_by_peft(form: AdapterForm, over: Path, out: Path) -> torch.Tensor:
    """Have PEFT itself make, fill and save an adapter of this form; returns its logits."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    settings = LoraConfig(
        r=form.rank, lora_alpha=form.alpha, target_modules=list(form.targets),
        use_rslora=form.rank_stabilised, task_type="CAUSAL_LM",
    )  # fmt: skip
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(over, dtype=torch.float32), settings
    )
    state = adapter(form).state
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.copy_(state[name.replace(".default", "")])
        logits = model(torch.tensor([TOKENS])).logits[0]
    model.save_pretrained(out)
    return logits


def record() -> dict[str, Any]:
    import peft

    from archipel.model.directory import write_model

    told: dict[str, Any] = {"peft": peft.__version__, "tokens": list(TOKENS), "forms": {}}
    with tempfile.TemporaryDirectory() as folder:
        over = Path(folder) / "over"
        write_model(over, base(), config())
        for number, (name, form) in enumerate(FORMS.items()):
            out = Path(folder) / str(number)
            logits = saved_by_peft(form, over, out)
            said = json.loads((out / "adapter_config.json").read_text())
            said["base_model_name_or_path"] = "over"
            said["target_modules"] = sorted(said["target_modules"])
            told["forms"][name] = {
                "adapter_config": said,
                "tensors": sorted(adapter(form).state),
                "logits": [round(float(each), 5) for each in logits[-1]],
            }
    return told


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(record(), indent=1) + "\n")
