"""`archipel bench`: the measurements that carry the claims, one command each."""

from archipel.cli.archipel import Lazy

BENCHMARKS = {
    "engine": ("bench_engine", "Tokens per second beside transformers.generate, with the roofline"),
    "serve": ("bench_serve", "Served models beside llama.cpp, transformers and vLLM"),
    "structured": ("bench_structured", "What answers by a JSON schema cost of a decode step"),
    "device": ("bench_device", "Whether an accelerator computes what a run needs, and how fast"),
    "sync": ("bench_sync", "Bytes per policy version against whole weights"),
    "adapters": ("bench_adapters", "Bytes, time and memory of a LoRA run beside whole weights"),
    "door": ("bench_door", "Many tenants over one base beside a process for each"),
    "parity": ("bench_parity", "Distributed against centralised reward, by staleness bound"),
    "staleness": ("bench_staleness", "Which losses survive which age of rollouts"),
    "lab": ("bench_lab", "How many nodes, records and entries a lab bears, and what each costs"),
    "ledger": (
        "bench_ledger",
        "Records appended, entries verified and proofs, by size of a ledger",
    ),
    "overhead": ("bench_overhead", "Processor time and requests beside the central loop"),
    "exact": ("bench_exact", "Speed, quality, exactness and detection of exact inference"),
    "audit": ("bench_audit", "Time to audit beside time to sample, and seconds to a verdict"),
    "replays": ("bench_replays", "Lies in contributions that making them again finds"),
    "adversaries": ("bench_adversaries", "How soon cheats are found, and honest nodes accused"),
    "byzantine": ("bench_byzantine", "What lying members do to pretraining, by way of merging"),
    "market": ("bench_market", "Whether lying about one's cost pays, and how much where it does"),
    "pages": ("bench_pages", "Bytes and milliseconds of each page of a large lab"),
    "pool-plan": ("bench_pool_plan", "Layer ranges of a pool: ours beside the published planner"),
    "mesh": ("bench_mesh", "How soon a version reaches the last node, and what the lab sends"),
    "churn": ("bench_churn", "Pretraining whose members die and come, beside the run left alone"),
    "real": ("bench_real", "A real pretrained model made better, beside a plain loop"),
    "adapt": ("bench_adapt", "A pretrained model adapted to a text by members, beside one machine"),
    "train": (
        "bench_train",
        "Tokens per second and memory of an update beside a plain loop and TRL",
    ),
    "families": ("bench_families", "Tasks that people bring: rewards beside more labels"),
    "cascade": ("bench_cascade", "A small model asked first: quality over calls of the large one"),
    "specialists": (
        "bench_specialists",
        "Specialists and a router against one generalist of as much training",
    ),
    "distil": ("bench_distil", "A student under a larger teacher, beside as much work over labels"),
    "pool": ("bench_pool", "One model over several devices: speed, bytes, and a device's death"),
    "diloco": ("bench_diloco", "Training across sites beside one place: loss over bytes"),
    "peers": ("bench_peers", "Wall-clock and accuracy beside TRL's GRPOTrainer"),
}

command = Lazy(
    name="bench",
    commands_in=BENCHMARKS,
    help="Measure side by side, with seeds and intervals. Each takes --quick and --json.\n\n"
    "\b\nExamples:\n  archipel bench engine --quick\n  archipel bench parity --json",
)
