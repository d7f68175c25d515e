"""The section `trainer`: what is passed on, what is refused and why, and what makes another cell."""

import dataclasses
import json

import pytest
import torch
from transformers import TrainingArguments

from lorascope.errors import LorascopeError
from lorascope.experiment.loading import dump_experiment, experiment_from
from lorascope.experiment.methods import LoraConfig
from lorascope.experiment.planning import plan
from lorascope.experiment.trainer import CHANGING, DECIDED, TrainerConfig
from lorascope.machine import devices
from lorascope.training.arguments import check_arguments, training_arguments
from lorascope.training.fit import LengthTrainer

from ..conftest import settings_of


@pytest.fixture
def experiment(corpus, backbone_folder):
    def make(trainer, **changes):
        return experiment_from(settings_of(corpus, backbone_folder, trainer=trainer, **changes))

    return make


def test_every_argument_is_one_of_trainers_own():
    own = {field.name for field in dataclasses.fields(TrainingArguments)}
    # these go by other names from one version of transformers to the next, or are not there yet in the earliest
    renamed = {"gradient_checkpointing", "gradient_checkpointing_kwargs", "activation_checkpointing"}
    renamed |= {"group_by_length", "train_sampling_strategy", "ddp_static_graph"}
    passed = set(TrainerConfig.model_fields)
    assert passed - renamed <= own and set(DECIDED) - renamed <= own
    assert not passed & set(DECIDED) and set(CHANGING) <= passed


def test_arguments_reach_trainer(tmp_path):
    given = {
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "adam_beta2": 0.98,
        "gradient_accumulation_steps": 4,
        "gradient_checkpointing": True,
        "dataloader_num_workers": 1,
    }
    method = LoraConfig(batch_size=8, epochs=3, weight_decay=0.1)
    arguments = training_arguments(method, 1e-4, 7, "fp32", tmp_path, TrainerConfig(**given))
    got = arguments.to_dict()
    assert got["lr_scheduler_type"] == "cosine" and got["warmup_steps"] == 0.1 and got["adam_beta2"] == 0.98
    # eight clips a step, two at a time
    assert got["gradient_accumulation_steps"] == 4 and got["per_device_train_batch_size"] == 2
    assert (got["learning_rate"], got["num_train_epochs"], got["weight_decay"], got["seed"]) == (1e-4, 3, 0.1, 7)
    checkpointing = "activation_checkpointing" if "activation_checkpointing" in got else "gradient_checkpointing"
    assert got[checkpointing] and got[f"{checkpointing}_kwargs"] == {"use_reentrant": False}
    head = training_arguments(method, 1e-4, 7, "fp32", tmp_path, TrainerConfig(**given), has_blocks=False)
    assert not head.to_dict()[checkpointing]
    trainer = LengthTrainer(
        model=torch.nn.Linear(1, 1), args=arguments, batch_size=8, train_dataset=_Three(), eval_dataset=_Three()
    )
    loader = trainer.get_train_dataloader()
    assert loader.num_workers == 1 and len(loader) == 4


class _Three(torch.utils.data.Dataset):
    lengths = (0, 0, 0)

    def __len__(self):
        return 3


@pytest.mark.parametrize(
    ("trainer", "told"),
    [
        ({"seed": 3}, "trainer: seed is not passed on to Trainer: it is the experiment's own key: seed"),
        ({"num_train_epochs": 3}, r"methods.<name>.epochs"),
        ({"fsdp": "full_shard"}, "use deepspeed with ZeRO stage 1 or 2"),
        ({"gradient_acumulation_steps": 2}, "did you mean gradient_accumulation_steps"),
        ({"gradient_accumulation_steps": 0}, "trainer.gradient_accumulation_steps"),
        ({"deepspeed": {"zero_optimization": {"stage": 3}}}, "ZeRO stage 3"),
        ({"deepspeed": {"optimizer": {"type": "Lamb"}}}, "its optimizer would take the place of the method's own"),
        ({"deepspeed": "nowhere.json"}, "nowhere.json cannot be read as JSON"),
    ],
)
def test_what_lorascope_decides_is_refused_with_the_reason(experiment, trainer, told):
    with pytest.raises(LorascopeError, match=told):
        experiment(trainer)


def test_a_file_of_deepspeeds_is_looked_into(tmp_path):
    file = tmp_path / "ds.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": 2}}))
    assert TrainerConfig(deepspeed=str(file)).given == {"deepspeed": str(file)}
    file.write_text(json.dumps({"zero_optimization": {"stage": 3}}))
    with pytest.raises(ValueError, match="ZeRO stage 3"):
        TrainerConfig(deepspeed=str(file))


def test_trainer_refuses_before_anything_is_written(experiment):
    with pytest.raises(LorascopeError, match=r"trainer: Trainer refuses its arguments .*no_such"):
        check_arguments(experiment({"lr_scheduler_type": "no_such"}))


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, "--use_fsdp"),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, "--use_deepspeed: .*stage 3"),
    ],
)
def test_what_a_launcher_chose_is_held_against_the_same_rules(experiment, monkeypatch, environment, told):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LorascopeError, match=told):
        check_arguments(experiment({}))


@pytest.mark.parametrize("by_launcher", [False, True])
def test_deepspeed_is_refused_without_a_gpu(experiment, monkeypatch, by_launcher):
    """Accelerate would train without it, and nobody would know."""
    monkeypatch.setattr(devices, "has_gpus", lambda: False)
    if by_launcher:
        monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    given = {} if by_launcher else {"deepspeed": {"zero_optimization": {"stage": 2}}}
    way = "launch without it" if by_launcher else "--set trainer.deepspeed=null"
    with pytest.raises(LorascopeError, match=rf"deepspeed: accelerate trains with DeepSpeed on GPUs only.*{way}"):
        check_arguments(experiment(given))


def test_adalora_is_not_trained_with_deepspeed(experiment):
    methods = {"adalora": {}, "frozen": None, "lora": None}
    with pytest.raises(LorascopeError, match=r"methods.adalora: AdaLoRA goes by whole gradients"):
        check_arguments(experiment({"deepspeed": {"zero_optimization": {"stage": 2}}}, methods=methods))


def test_the_launchers_precision_does_not_replace_the_experiments(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    for precision, mixed in (("fp32", "no"), ("bf16", "bf16")):
        assert training_arguments(LoraConfig(), 1e-3, 1, precision, tmp_path).mixed_precision == mixed


def test_checkpointing_that_would_train_nothing_is_refused(experiment):
    with pytest.raises(LorascopeError, match=r"use_reentrant: true: .*take it out") as caught:
        experiment({"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}})
    assert "\n" not in str(caught.value)


def test_only_what_changes_results_makes_another_cell(experiment):
    def names(trainer):
        cells = plan(experiment(trainer))
        clips = {
            clip: _Clip
            for cell in cells
            for part in ("train", "validation", "test")
            for clip in getattr(cell.fold, part)
        }
        return [cell.address("weights", clips, dict.fromkeys(clips, 0)) for cell in cells]

    plain = names({})
    faster = {"gradient_accumulation_steps": 2, "gradient_checkpointing": True, "dataloader_num_workers": 2}
    assert names(faster) == plain
    assert not set(names({"warmup_steps": 5})) & set(plain)
    # dropout is drawn anew then; a head alone has no blocks that it concerned
    anew = names({"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"preserve_rng_state": False}})
    assert [a == b for a, b in zip(anew, plain, strict=True)] == [
        "frozen" in cell.kind for cell in plan(experiment({}))
    ]
    logistic = {"logistic": {"kind": "frozen", "head": "logistic"}, "frozen": None, "lora": None}
    pair = [plan(experiment(trainer, methods=logistic))[0] for trainer in ({}, {"warmup_steps": 5})]
    clips = {clip: _Clip for part in ("train", "validation", "test") for clip in getattr(pair[0].fold, part)}
    assert len({cell.address("weights", clips, dict.fromkeys(clips, 0)) for cell in pair}) == 1


class _Clip:
    hash = "same"


def test_the_section_is_written_out_as_it_was_given(experiment):
    import yaml

    given = experiment({"warmup_steps": 5})
    written = yaml.safe_load(dump_experiment(given))
    assert written["trainer"] == {"warmup_steps": 5}
    assert experiment_from(written) == given


def test_a_schedule_is_said_once(experiment):
    methods = {"lora": {"schedule": "cosine", "warmup": 0.1}}
    for key, value, name in (("lr_scheduler_type", "linear", "schedule"), ("warmup_steps", 3, "warmup")):
        with pytest.raises(LorascopeError, match=rf"trainer\.{key} and methods\.lora\.{name} both say it"):
            experiment({key: value}, methods=methods)
    assert experiment({"lr_scheduler_type": "cosine"}).trainer.lr_scheduler_type == "cosine"
