"""Build the model that is trained, for each way of adapting an encoder, and save what came of it.

LoRA and its relatives, DoRA and IA3 are PEFT's, with projector and classifier among the saved modules. Full fine-tuning
and BitFit train the model's own parameters and are saved whole, as a stock checkpoint. PiSSA and AdaLoRA are saved as
the plain LoRA that they amount to (see `conversion`).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import AdaLoraConfig, IA3Config, LoraConfig, PeftModel, get_peft_model
from peft.utils.save_and_load import get_peft_model_state_dict
from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from ...errors import LorascopeError
from ...experiment import methods
from ...sound.features import FRAMES_PER_SECOND, FeatureSettings, WaveformSettings
from ...store.modes import as_umask_says
from ..classifier import Head, SpeechClassifier
from ..head_kinds import DEPTH_WEIGHTS, kind_of, read_depths
from ..weights.backbone import UNUSED, Backbone, load_backbone
from .conversion import is_converted, plain
from .folder import attach, load_adapter
from .reading import HEAD
from .record import RECORD, Record, save_adapter


def adapt(model: SpeechClassifier, method: methods.Method, seed: int) -> PeftModel | SpeechClassifier:
    """The model with all that the method trains, and nothing else, requiring gradients; its
    draws come from `seed` alone.

    What must not move of an encoder that is trained whole: Whisper's sinusoidal positions, and the convolutions on
    the waveform (as is usual: `freeze_feature_encoder`). Raises `LorascopeError` where the method names a layer
    that the encoder has not, or a rank above the smaller side of a matrix.
    """
    if isinstance(method, methods.FullConfig | methods.BitFitConfig):
        return _release(model, biases_only=isinstance(method, methods.BitFitConfig))
    check_fits(method, model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft = _wrap(model, _peft_config(model, method))
    if kind_of(model) == "layer_sum":
        model.layer_weights.requires_grad_(True)
    return peft


def check_fits(method: methods.Method, model: SpeechClassifier) -> None:
    """Raises `LorascopeError` where the method names a layer that the encoder has not, or a rank above the smaller side
    of a matrix that it adapts.
    """
    count = model.config.num_hidden_layers
    for layer in getattr(method, "layers", None) or ():
        if layer >= count:
            raise LorascopeError(f"methods: {method.words}: no layer {layer}; the encoder's are 0 to {count - 1}")
    rank = getattr(method, "initial_rank", None) or getattr(method, "rank", None)
    if rank is None:
        return
    for target in getattr(method, "targets", ()):
        suffix = f".{model.linears[target]}.weight"
        smaller = min(min(weight.shape) for name, weight in model.named_parameters() if name.endswith(suffix))
        if rank > smaller:
            raise LorascopeError(
                f"methods: {method.words}: rank {rank} is above {smaller}, the smaller side of {target}; "
                "give a lower one"
            )


def _peft_config(model: SpeechClassifier, method: Any) -> LoraConfig | IA3Config:
    modules = [model.linears[name] for name in method.targets]
    if isinstance(method, methods.Ia3Config):
        if method.layers is not None:
            # PEFT's IA3 knows no layers_to_transform
            modules = [f"layers.{layer}.{module}" for layer in method.layers for module in modules]
        inputs = [module for module in modules if module.endswith(model.linears["fc2"])]
        return IA3Config(target_modules=modules, feedforward_modules=inputs, modules_to_save=list(HEAD))
    shared: dict[str, Any] = {
        "lora_alpha": method.alpha,  # a float works and keeps the scale exact
        "lora_dropout": method.dropout,
        "target_modules": modules,
        "modules_to_save": list(HEAD),
        "bias": "none",
    }
    if method.layers is not None:
        shared |= {"layers_to_transform": list(method.layers), "layers_pattern": "layers"}
    if isinstance(method, methods.AdaLoraConfig):
        # the schedule is set when the number of steps is known (training.allocation)
        return AdaLoraConfig(
            init_r=method.initial_rank,
            target_r=method.rank,
            total_step=2,
            orth_reg_weight=method.orthogonality,
            **shared,
        )
    start: Any = "pissa" if isinstance(method, methods.PissaConfig) else True
    return LoraConfig(
        r=method.rank,
        use_rslora=isinstance(method, methods.RsLoraConfig),
        use_dora=isinstance(method, methods.DoraConfig),
        init_lora_weights=start,
        **shared,
    )


def _release(model: SpeechClassifier, biases_only: bool) -> SpeechClassifier:
    """Let the encoder's own parameters and the head be trained, or only its biases and the head."""
    fixed = ("feature_extractor.", "embed_positions.")
    head = (*HEAD, DEPTH_WEIGHTS) if kind_of(model) == "layer_sum" else HEAD
    for name, parameter in model.named_parameters():
        inner = name.removeprefix(f"{model.trunk}.")
        moves = not inner.startswith(fixed) and not inner.endswith(UNUSED) and (inner != DEPTH_WEIGHTS or inner in head)
        parameter.requires_grad_(moves and (not biases_only or name.endswith("bias") or inner.split(".")[0] in head))
    return model


def add_head_only(model: SpeechClassifier, head: Head) -> PeftModel:
    """A frozen encoder with a trained head, in a form that PEFT saves and loads.

    PEFT has no adapter that consists of saved modules alone, so a rank-1 LoRA with B = 0 on one projection carries
    them: its update is exactly zero.
    """
    config = LoraConfig(
        r=1,
        lora_alpha=1,
        target_modules=["v_proj"],
        layers_to_transform=[0],
        layers_pattern="layers",
        modules_to_save=list(HEAD),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        peft = _wrap(model, config)
    for name in HEAD:
        saved = getattr(peft.base_model.model, name).modules_to_save["default"]
        saved.load_state_dict(getattr(head, name).state_dict())
    return peft


def _wrap(model: SpeechClassifier, config: Any) -> PeftModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft = get_peft_model(model, config)
    assert isinstance(peft, PeftModel)
    return peft


def save_trained(
    model: PeftModel | SpeechClassifier,
    folder: Path,
    record: Record,
    features: FeatureSettings,
    load: Callable[[], Backbone],
) -> None:
    """Write a trained model: a PEFT folder, or a stock checkpoint where the model's own parameters were trained,
    and the record beside it.

    `features` is what the encoder takes; `load` gives the backbone as it was before, which PiSSA and
    AdaLoRA are told against.
    """
    if isinstance(model, PeftModel):
        config: Any = model.peft_config["default"]
        tensors = {name: tensor.detach().cpu() for name, tensor in get_peft_model_state_dict(model).items()}
        if is_converted(config):
            fresh = read_depths(load().model, record.head)
            converted = plain(config, tensors, fresh.state_dict())
            assert converted is not None
            depths: Any = model.get_base_model()
            if record.head == "layer_sum":
                fresh.layer_weights = depths.layer_weights
            model = attach(fresh, *converted)
        save_adapter(model.eval(), folder, record)
        return
    whole: Any = model
    whole.save_pretrained(str(folder))
    config = folder / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8")) | {"architectures": [model.stock.__name__]}
    config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    extractor: Any = (
        Wav2Vec2FeatureExtractor(do_normalize=features.normalise, return_attention_mask=True)
        if isinstance(features, WaveformSettings)
        else WhisperFeatureExtractor(
            feature_size=model.config.num_mel_bins, chunk_length=features.longest // FRAMES_PER_SECOND
        )
    )
    extractor.save_pretrained(str(folder))
    (folder / RECORD).write_text(json.dumps(record.told(), indent=2) + "\n", encoding="utf-8")
    as_umask_says(folder)


def load_trained(backbone: Backbone, folder: Path, kind: str, head: str = "last") -> Any:
    """What `save_trained` wrote, in eval mode; `backbone` may be changed, or left unused where the
    folder holds a whole model. `head` is what the model's head reads.
    """
    if kind in methods.WHOLE:
        return load_backbone(str(folder)).model
    if head != "last":
        return load_adapter(backbone, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PeftModel.from_pretrained(backbone.model, str(folder)).eval()
