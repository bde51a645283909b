"""What clients are told of calls on sessions, models and samplers: at once, or as the end of a future.

Law: nothing here looks anything up.
"""

from collections.abc import Sequence

from archipel.door.hands import ServedModel
from archipel.door.wire import bounds
from archipel.door.wire.answers import said
from archipel.door.wire.errors import Told
from archipel.door.wire.paths import CheckpointPath

MAX_AT_ONCE = 400
"""Samples that one client has on their way."""
REFRESH_S = 300


def client_config(max_at_once: int = MAX_AT_ONCE, futures_at_once: bool = True) -> Told:
    """How clients go about it here; futures_at_once: samplers poll all their futures by one call."""
    return said(
        {
            "pjwt_auth_enabled": False,
            "parallel_fwdbwd_chunks": True,
            "proto_write_fwdbwd": True,
            "proto_compress_fwdbwd": True,
            "fwd_via_fwdbwd": True,
            "fwdbwd_max_chunk_len": bounds.MAX_DATA,
            "sample_max_concurrent_requests": max_at_once,
            "sample_use_retrieve_futures": futures_at_once,
            "sample_join_sampling_session": True,
            "custom_loss_server_side": False,
        }
    )


def dynamic_config() -> Told:
    """What clients ask for anew while they run."""
    return said({"refresh_interval_sec": REFRESH_S, "sample_cancel_enabled": True})


def capabilities(models: Sequence[ServedModel]) -> Told:
    """What can be trained and sampled."""
    rows = [
        {
            "model_name": each.name,
            "max_context_length": each.max_context_length,
            "trainable": True,
            "sampleable": True,
        }
        for each in models
    ]
    return said({"supported_models": rows})


def key_info(number: int, name: str, owner: str) -> Told:
    """Of the key itself, which clients look at before they store it; number: any that is no part of it."""
    return said(
        {
            "key_id": number,
            "name": name,
            "note": "",
            "details": {
                "org_details": {"name": owner},
                "user_details": {"email": ""},
            },
        }
    )


def session_made(session: str, info: str | None = None, warning: str | None = None) -> Told:
    """Of create_session; info, warning: clients print them."""
    return said(
        {
            "type": "create_session",
            "session_id": session,
            "info_message": info,
            "warning_message": warning,
        }
    )


def heartbeat() -> Told:
    """The session goes on."""
    return said({"type": "session_heartbeat"})


def model_made(model: str) -> Told:
    """The end of create_model's future."""
    return said({"type": "create_model", "model_id": model})


def model_unloaded(model: str) -> Told:
    """The end of unload_model's future."""
    return said({"type": "unload_model", "model_id": model})


def model_info(model: str, served: ServedModel, rank: int) -> Told:
    """Of get_info."""
    return said(
        {
            "type": "get_info",
            "model_id": model,
            "model_name": served.name,
            "is_lora": True,
            "lora_rank": rank,
            "optimizer_config": {"type": "adamw"},
            "model_data": {
                "arch": served.architecture,
                "model_name": served.name,
                "tokenizer_id": served.tokenizer_id,
            },
        }
    )


def weights_saved(path: CheckpointPath) -> Told:
    """The end of save_weights's future."""
    return said({"type": "save_weights", "path": str(path)})


def sampler_saved(path: CheckpointPath | None, sampling_session: str | None = None) -> Told:
    """The end of save_weights_for_sampler's future: a path, or the sampling session that was asked for."""
    return said(
        {
            "type": "save_weights_for_sampler",
            "path": None if path is None else str(path),
            "sampling_session_id": sampling_session,
        }
    )


def external_saved(path: CheckpointPath, num_bytes: int) -> Told:
    """The end of save_weights_external's future."""
    return said({"type": "save_weights_external", "path": str(path), "size_bytes": num_bytes})


def weights_loaded(path: CheckpointPath, model: str) -> Told:
    """The end of load_weights's future."""
    return said({"type": "load_weights", "path": str(path), "model_id": model})


def weights_info(base: str, rank: int, targets: Sequence[str]) -> Told:
    """Of a checkpoint: what a model has to be to take it; targets: of its form."""
    return said(
        {
            "base_model": base,
            "is_lora": True,
            "lora_rank": rank,
            "train_unembed": "lm_head" in targets,
            "train_mlp": "up_proj" in targets,
            "train_attn": "q_proj" in targets,
            "optimizer_config": {"type": "adamw"},
        }
    )


def sampling_session_made(sampling_session: str) -> Told:
    """Of create_sampling_session."""
    return said({"type": "create_sampling_session", "sampling_session_id": sampling_session})


def joined(counter: int) -> Told:
    """Of join_sampling_session: its own number, from 1 up; its seq_ids begin at so many thousand millions."""
    return said({"type": "join_sampling_session", "client_counter": counter})


def sampler(sampling_session: str, base: str, path: CheckpointPath | None) -> Told:
    """Which weights a sampler has."""
    return said(
        {
            "sampler_id": sampling_session,
            "base_model": base,
            "model_path": None if path is None else str(path),
        }
    )


def completions(done: Sequence[tuple[str, int | None]], cursor: int) -> Told:
    """Of retrieve_futures: (request, bytes of its answer, or None: it failed), and where the next call goes on."""
    rows = [
        {"state": "failed", "request_id": request}
        if num_bytes is None
        else {
            "state": "finished",
            "request_id": request,
            "response_payload_uncompressed_size": num_bytes,
        }
        for request, num_bytes in done
    ]
    return said({"completions": rows, "cursor": cursor})
