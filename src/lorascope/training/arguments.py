"""Trainer's arguments for one training: what lorascope decides, what the experiment's section `trainer` adds, and what
is refused before a run begins.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from pydantic import ValidationError
from torch import nn
from transformers import TrainingArguments

from ..errors import LorascopeError
from ..experiment.config import Experiment
from ..experiment.methods import FrozenConfig, OptimiserConfig, recipe_of
from ..experiment.trainer import COMPILING, DECIDED, PLAIN, TrainerConfig
from ..machine import devices, processes
from ..models.families.known import blocks_of

#: What Trainer calls it to compute activations again instead of keeping them: the name changed in transformers 5.
CHECKPOINTING = next(
    name
    for name in ("activation_checkpointing", "gradient_checkpointing")
    if name in {field.name for field in fields(TrainingArguments)}
)


def training_arguments(
    optimiser: OptimiserConfig,
    learning_rate: float,
    seed: int,
    precision: str,
    folder: Path,
    trainer: TrainerConfig = PLAIN,
    has_blocks: bool = True,
    chooses: bool = True,
) -> TrainingArguments:
    """Trainer's arguments for one training whose checkpoints go to `folder`. A model that `has_blocks` can compute
    activations again; a head alone has nothing of that kind. One that `chooses` is tested after every epoch, and ends
    with the best one's weights.

    Raises `LorascopeError` where Trainer refuses one of the section `trainer`.
    """
    given, recipe = trainer.given, recipe_of(optimiser)
    pieces = processes.count() * given.get("gradient_accumulation_steps", 1)
    if "ACCELERATE_MIXED_PRECISION" in os.environ:
        # the launcher's choice, which Trainer would prefer to float32
        os.environ["ACCELERATE_MIXED_PRECISION"] = "no" if precision == "fp32" else precision
    on_gpu = devices.has_cuda() and has_blocks
    settings = {
        "output_dir": str(folder.resolve()),
        "num_train_epochs": optimiser.epochs,
        # told for DeepSpeed, which counts clips; the batches themselves are dealt out by `ShareOfBatches`
        "per_device_train_batch_size": -(-optimiser.batch_size // pieces),
        "per_device_eval_batch_size": -(-optimiser.batch_size // processes.count()),
        "learning_rate": learning_rate,
        "lr_scheduler_type": recipe.schedule,
        # below 1 a share of all steps
        "warmup_steps": recipe.warmup,
        "weight_decay": optimiser.weight_decay,
        "max_grad_norm": optimiser.max_grad_norm,
        # the same arithmetic; on a GPU in one operation instead of some for each matrix
        "optim": "adamw_torch_fused" if on_gpu else "adamw_torch",
        "eval_strategy": "epoch" if chooses else "no",
        "save_strategy": "epoch",
        "logging_strategy": "epoch",
        # `Checkpoints` removes old ones, when the new one is known to be whole
        "save_total_limit": None,
        "load_best_model_at_end": chooses,
        **({"metric_for_best_model": "score", "greater_is_better": True} if chooses else {}),
        "seed": seed,
        "data_seed": seed,
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        # else Trainer takes bfloat16 for a GPU's
        "use_cpu": devices.accelerator() is None,
        # else every step asks the GPU whether its loss is a number, and waits; a loss that isn't one is logged as such
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "remove_unused_columns": False,
        "label_names": ["labels", "weight"],
        "disable_tqdm": processes.number() > 0 or not sys.stderr.isatty(),
        # on a GPU the next batches are made ready, and sent on their way, while it computes
        **({"dataloader_num_workers": 2, "accelerator_config": {"non_blocking": True}} if on_gpu else {}),
        # all that is trained takes part in every step
        "ddp_find_unused_parameters": False,
    }
    again, how = given.pop("gradient_checkpointing", False), given.pop("gradient_checkpointing_kwargs", {})
    if again and has_blocks:
        # nothing before an adapter requires gradients, which the older way of checkpointing cannot do
        given |= {CHECKPOINTING: True, f"{CHECKPOINTING}_kwargs": {"use_reentrant": False} | how}
    # not Trainer's work but that of `compiled`
    for name in COMPILING:
        given.pop(name, None)
    try:
        arguments = TrainingArguments(**settings | given)
        # several GPUs without a launcher would each get a batch of their own
        _ = arguments.device
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        raise LorascopeError(f"trainer: Trainer refuses its arguments ({error}); mend the section") from error
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


@contextmanager
def compiled(model: nn.Module, trainer: TrainerConfig) -> Iterator[None]:
    """With the section's `torch_compile` the encoder's blocks run compiled until the block ends: alike as they are,
    they share one compilation a shape.

    A head alone has no blocks, and runs as it is.
    """
    blocks = blocks_of(model) if trainer.torch_compile else []
    for block in blocks:
        block.compile(backend=trainer.torch_compile_backend or "inductor", mode=trainer.torch_compile_mode)
    try:
        yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None


def check_arguments(experiment: Experiment) -> None:
    """Raises `LorascopeError` where Trainer refuses an argument of the section `trainer`, or where a batch cannot be
    shared evenly among the processes that are there.

    Heads on a frozen encoder are exempt from the latter: their steps take no time that could be shared. What a launcher
    chose is held against the same rules as the section.
    """
    _check_launcher(experiment)
    steps = experiment.trainer.gradient_accumulation_steps or 1
    pieces = steps * processes.count()
    trained = {name: method for name, method in experiment.conditions.items() if isinstance(method, OptimiserConfig)}
    for name, method in trained.items():
        if not isinstance(method, FrozenConfig) and method.batch_size % pieces:
            parts = f"{processes.count()} processes" + (f" in {steps} steps each" if steps > 1 else "")
            raise LorascopeError(
                f"methods.{name}.batch_size: {method.batch_size} clips cannot be shared evenly among {parts}; start "
                "fewer processes, or change batch_size, which changes the result"
            )
    if trained and experiment.trainer.given:
        with tempfile.TemporaryDirectory() as folder:
            method = next(iter(trained.values()))
            training_arguments(method, 1e-3, experiment.seed, experiment.precision, Path(folder), experiment.trainer)


def _check_launcher(experiment: Experiment) -> None:
    def chosen(name: str) -> bool:
        return os.environ.get(name, "").lower() == "true"

    if chosen("ACCELERATE_USE_FSDP"):
        raise LorascopeError(f"the launcher's --use_fsdp: {DECIDED['fsdp']}")
    by_launcher = chosen("ACCELERATE_USE_DEEPSPEED")
    if by_launcher:
        stage = int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") or 2)
        file = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE") or {"zero_optimization": {"stage": stage}}
        try:
            TrainerConfig(deepspeed=file)
        except ValidationError as error:
            told = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise LorascopeError(f"the launcher's --use_deepspeed: {told}") from error
    if by_launcher or experiment.trainer.deepspeed is not None:
        for name, method in experiment.conditions.items():
            if method.kind == "adalora":
                raise LorascopeError(
                    f"methods.{name}: AdaLoRA goes by whole gradients, which DeepSpeed doesn't keep; train it without "
                    "DeepSpeed"
                )
        if not devices.has_gpus():
            # accelerate would leave DeepSpeed out and say nothing
            where, way = (
                ("the launcher's --use_deepspeed", "launch without it")
                if by_launcher
                else ("trainer.deepspeed", "leave it out with --set trainer.deepspeed=null")
            )
            raise LorascopeError(
                f"{where}: accelerate trains with DeepSpeed on GPUs only, and there is none here; {way}"
            )
