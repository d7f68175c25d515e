"""The section `trainer` of an experiment: those arguments of Hugging Face's Trainer that lorascope passes on.

Arguments that lorascope decides itself are refused with the reason. This module knows their names and types; torch and
transformers are not imported here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from .section import Count, Section, Share

Natural = Annotated[int, Field(ge=0, strict=True)]

_OF_THE_METHOD = "it is a setting of each method: methods.<name>.{}"
_CHECKPOINTS = "lorascope decides when a training is tested, logged and saved, so that it can be continued"
_BATCHES = (
    "lorascope deals out the batches itself: each holds clips of one length, and batch_size of them in all processes "
    "together"
)
_SHARDED = (
    "lorascope saves from the first process, which would hold only a part of the parameters; use deepspeed with ZeRO "
    "stage 1 or 2"
)
#: Why an argument is not passed on.
DECIDED = {
    "learning_rate": _OF_THE_METHOD.format("learning_rate"),
    "num_train_epochs": _OF_THE_METHOD.format("epochs"),
    "weight_decay": _OF_THE_METHOD.format("weight_decay"),
    "max_grad_norm": _OF_THE_METHOD.format("max_grad_norm"),
    "per_device_train_batch_size": _OF_THE_METHOD.format("batch_size"),
    "per_device_eval_batch_size": _OF_THE_METHOD.format("batch_size"),
    "max_steps": "a training ends after whole epochs: methods.<name>.epochs",
    "seed": "it is the experiment's own key: seed",
    "data_seed": "it is the experiment's own key: seed",
    "bf16": "it is the experiment's own key: precision",
    "fp16": "it is the experiment's own key: precision",
    "output_dir": "checkpoints lie in the run folder, which --out names",
    "resume_from_checkpoint": "an interrupted training continues by itself",
    "label_smoothing_factor": _OF_THE_METHOD.format("label_smoothing"),
    **dict.fromkeys(("fsdp", "fsdp_config"), _SHARDED),
    **dict.fromkeys(
        (
            "eval_strategy",
            "eval_steps",
            "eval_delay",
            "eval_on_start",
            "save_strategy",
            "save_steps",
            "save_total_limit",
            "save_only_model",
            "logging_strategy",
            "logging_steps",
            "load_best_model_at_end",
            "metric_for_best_model",
            "greater_is_better",
        ),
        _CHECKPOINTS,
    ),
    **dict.fromkeys(
        (
            "auto_find_batch_size",
            "dataloader_drop_last",
            "train_sampling_strategy",
            "group_by_length",
            "accelerator_config",
            "average_tokens_across_devices",
            "remove_unused_columns",
            "label_names",
        ),
        _BATCHES,
    ),
    "activation_checkpointing": "its name here is gradient_checkpointing",
    "ddp_timeout": "lorascope's processes wait for each other as long as it takes",
}


class TrainerConfig(Section):
    """Arguments of Hugging Face's `TrainingArguments`, by their own names; what isn't given is as lorascope or Trainer
    has it.

    Those of `CHANGING` change the result and belong to a cell's identity. The others say where and how fast it is
    computed (results agree to rounding), so a cell is the same with and without them. `deepspeed` is the path of
    DeepSpeed's JSON file, or its content.
    """

    optim: str | None = None
    optim_args: str | None = None
    lr_scheduler_type: str | None = None
    lr_scheduler_kwargs: dict[str, Any] | None = None
    warmup_steps: Natural | Share | None = None
    adam_beta1: Share | None = None
    adam_beta2: Share | None = None
    adam_epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    tf32: bool | None = None
    full_determinism: bool | None = None

    torch_compile: bool | None = None
    torch_compile_backend: str | None = None
    torch_compile_mode: str | None = None
    gradient_accumulation_steps: Count | None = None
    gradient_checkpointing: bool | None = None
    gradient_checkpointing_kwargs: dict[str, Any] | None = None
    deepspeed: str | dict[str, Any] | None = None
    ddp_backend: str | None = None
    ddp_find_unused_parameters: bool | None = None
    ddp_bucket_cap_mb: Count | None = None
    ddp_broadcast_buffers: bool | None = None
    ddp_static_graph: bool | None = None
    dataloader_num_workers: Natural | None = None
    dataloader_pin_memory: bool | None = None
    dataloader_persistent_workers: bool | None = None
    dataloader_prefetch_factor: Count | None = None
    eval_accumulation_steps: Count | None = None
    torch_empty_cache_steps: Count | None = None
    report_to: str | list[str] | None = None
    run_name: str | None = None
    project: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _not_decided(cls, given: Any) -> Any:
        for name in given if isinstance(given, dict) else ():
            if name in DECIDED:
                raise ValueError(f"{name} is not passed on to Trainer: {DECIDED[name]}")
        return given

    @model_validator(mode="after")
    def _deepspeed_leaves_the_method_alone(self) -> TrainerConfig:
        settings = self.deepspeed
        if isinstance(settings, str):
            try:
                settings = json.loads(Path(settings).expanduser().read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"deepspeed: {self.deepspeed} cannot be read as JSON ({error}); mend the path"
                ) from error
        if settings is None:
            return self
        if not isinstance(settings, dict):
            raise ValueError("deepspeed: expected DeepSpeed's settings, such as zero_optimization: {stage: 2}")
        for part in ("optimizer", "scheduler"):
            if part in settings:
                raise ValueError(f"deepspeed: its {part} would take the place of the method's own; take it out")
        stage = (settings.get("zero_optimization") or {}).get("stage", 0)
        if stage not in (0, 1, 2):
            raise ValueError(f"deepspeed: ZeRO stage {stage}: {_SHARDED}")
        return self

    @model_validator(mode="after")
    def _checkpointing_reaches_the_adapter(self) -> TrainerConfig:
        if (self.gradient_checkpointing_kwargs or {}).get("use_reentrant"):
            raise ValueError(
                "gradient_checkpointing_kwargs: use_reentrant: true: nothing before an adapter requires gradients, so "
                "that none would reach it and nothing be trained; take it out"
            )
        return self

    @model_serializer(mode="wrap")
    def _given_alone(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}

    @property
    def given(self) -> dict[str, Any]:
        """The arguments that are given, by name."""
        return self.model_dump(mode="json")

    def changing(self, blocks: bool) -> dict[str, Any]:
        """Those that are given and change what a training ends with; a head alone has no `blocks` that they could
        concern.
        """
        named = {name: value for name, value in self.given.items() if name in CHANGING}
        return {name: value for name, value in named.items() if blocks or name not in OF_BLOCKS}


#: Arguments that have the encoder's blocks compiled, which draws other dropout.
COMPILING = ("torch_compile", "torch_compile_backend", "torch_compile_mode")

#: Arguments that concern the encoder's blocks alone. Activations that are computed again are the same, but how may say
#: that dropout is drawn anew (`preserve_rng_state: false`).
OF_BLOCKS = (*COMPILING, "gradient_checkpointing_kwargs")

#: Arguments that change the result of a training, and with it the identity of its cell.
CHANGING = (
    "optim",
    "optim_args",
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "warmup_steps",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "tf32",
    "full_determinism",
    *OF_BLOCKS,
)

#: Nothing beyond what lorascope decides.
PLAIN = TrainerConfig()
