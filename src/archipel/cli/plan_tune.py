"""`archipel plan tune`: what tuning a model takes."""

from archipel.cli.questions import question_command

command = question_command(
    "tune",
    """What tuning a model takes: memory by part, whether it fits, hours, money, energy.

    All weights (full), adapters beside frozen weights (LoRA), or beside weights in 4 bits (QLoRA); optimiser or weights
    kept in main memory or on disk, with the time of moving them; and what would make it fit.

    \b
    Examples:
      archipel plan tune --model llama-3-8b
      archipel plan tune --model llama-3-70b --method qlora --accelerator h100
      archipel plan tune --params 3B --method full --offload optimiser --own --country deu
      archipel plan tune --config model/config.json --method qlora --accelerator rtx5090
      archipel plan tune --params 8B --method qlora --accelerator rtx3090 --explain memory.scores
    """,
)
