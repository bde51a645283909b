"""A tiny chat model that is served in this process."""

from datetime import UTC, datetime
from pathlib import Path

from archipel.engine.capacity import EngineLimits
from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.model.network import random_weights
from archipel.model.tokenizer import byte_tokenizer
from archipel.serve.served import How, Served, serve_folder
from archipel.work.folders import folder_of

TEMPLATE = (
    "{% if tools %}<tool_call>{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}<bos>{{ m['role'] }}\n{{ m['content'] }}<eos>{% endfor %}<bos>assistant\n"
)
NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def tiny_model(path: Path, template: str | None = TEMPLATE, num_layers: int = 1) -> Path:
    """Random weights, every byte a token."""
    tokenizer = byte_tokenizer()
    if template is not None:
        tokenizer = tokenizer.with_chat_template(template)
    config = DecoderConfig(
        "llama", tokenizer.vocab_size, 32, num_layers, 2, 2, 16, 64, 512, bos_token_id=tokenizer.bos_id,
        eos_token_ids=tokenizer.stop_ids, pad_token_id=tokenizer.pad_id,
    )  # fmt: skip
    write_model(path, random_weights(config, 1), config, tokenizer)
    return path


def served(path: Path, name: str = "tiny") -> Served:
    """The directory, served."""
    limits = EngineLimits(max_cache_bytes=2**26)
    return serve_folder(folder_of(path), How(name, limits=limits), NOW)
