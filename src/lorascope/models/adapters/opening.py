"""Open an adapter of any kind that can be read: PEFT folders with a head or without, and whole checkpoints, merged or
fine-tuned.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import AdaLoraConfig, LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.save_and_load import set_peft_model_state_dict
from torch import Tensor, nn

from ...errors import LorascopeError
from ..classifier import SpeechClassifier
from ..families.known import parts_of
from ..head_kinds import DEPTH_WEIGHTS
from ..weights.backbone import UNUSED, Backbone, load_backbone
from .conversion import is_converted, moves_base
from .folder import check_factors, check_record, load_adapter, place
from .foreign import PREFIX, explicit_lora, map_lora
from .own_head import settle_head
from .reading import HEAD, Saved, head_tensors, read_adapter
from .record import Record, read_record
from .recovery import Recovered, in_words, recover
from .tuned import TunedModel


@dataclass(frozen=True)
class Source:
    """What an adapter's folder holds. `config` is PEFT's, or `whole` the checkpoint; `head` projector and classifier,
    empty where there is no trained one; `raw` where the weights were no file of `save_pretrained`.
    """

    folder: Path
    record: Record | None
    head: dict[str, Tensor]
    config: PeftConfig | None = None
    tensors: dict[str, Tensor] | None = None
    whole: Backbone | None = None
    raw: bool = False
    biases: dict[str, Tensor] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names that the folder gives, in the order of the logits."""
        return self.record.classes if self.record else self.whole.labels if self.whole else ()


@dataclass(frozen=True)
class Adapted:
    """An adapter on its backbone, in eval mode, and what a reader must know of it. `model` is a `PeftModel` or a
    `TunedModel`.
    """

    model: Any
    has_head: bool
    notes: tuple[str, ...] = ()


def read_source(folder: Path) -> Source:
    """Read an adapter's folder. Raises `LorascopeError` as `read_adapter` and `load_backbone` do."""
    record = read_record(folder) if folder.is_dir() else None
    if (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
        whole = load_backbone(str(folder))
        return Source(folder, record, _head_of(whole.model) if whole.has_head else {}, whole=whole)
    config, tensors, raw, biases = read_adapter(folder)
    return Source(folder, record, head_tensors(tensors), config, tensors, raw=raw, biases=biases)


def open_adapted(backbone: Backbone, source: Source | Path) -> Adapted:
    """Put an adapter onto a backbone.

    Raises `LorascopeError` where it belongs to another backbone, changes nothing of the encoder, or its kind cannot be
    read.
    """
    source = read_source(source) if isinstance(source, Path) else source
    if source.whole is not None:
        adapted = _open_checkpoint(backbone, source, source.whole)
    elif answers(backbone, source):
        adapted = _open_with_head(backbone, source)
    else:
        adapted = _open_headless(backbone, source)
    return Adapted(adapted.model.eval(), adapted.has_head, (*adapted.notes, *_remarks(adapted.model, source)))


def answers(backbone: Backbone, source: Source) -> bool:
    """Whether there is a trained head: the source's own, or the backbone's for an adapter of the same classifier."""
    if source.head or source.whole is not None:
        return bool(source.head)
    modules = {name for name, _ in backbone.model.named_modules()}
    # an adapter of another class (speech recognition) has factors at other places, and knows nothing of this head
    return backbone.has_head and all(_module_of(name, modules) for name in source.tensors or {})


def _module_of(name: str, modules: Collection[str]) -> bool:
    """Whether a tensor of an adapter lies on one of the model's modules, or belongs to none (VeRA's shared ones)."""
    path = name.removeprefix(PREFIX)
    if path == name:
        return True
    pieces = path.split(".")
    return any(".".join(pieces[:end]) in modules and end > 1 for end in range(len(pieces), 0, -1)) or pieces[0] in HEAD


# Folders with a head --------------------------------------------------------------------------------------------------


def _open_with_head(backbone: Backbone, source: Source) -> Adapted:
    assert source.config is not None
    folder, init = source.folder, str(getattr(source.config, "init_lora_weights", ""))
    notes = []
    if moves_base(source.config):
        notes.append(
            f"This adapter started by {init}, which changes the weights below the factors; it is told against the "
            "backbone's own weights, as LoRA of twice the rank (right if the backbone is the one that training began "
            "with)."
        )
    lacking = [part for part in HEAD if f"{part}.weight" not in source.head]
    if lacking:
        notes.append(f"The {' and '.join(lacking)} {'are' if len(lacking) > 1 else 'is'} the backbone folder's own.")
    if biases := set(source.biases) - {DEPTH_WEIGHTS}:
        notes.append(f"{len(biases)} of the encoder's biases were trained too; they are part of the trained model.")
    saved = Saved(source.config, source.tensors or {}, source.raw, source.biases)
    return Adapted(load_adapter(backbone, folder, saved), True, tuple(notes))


# Folders without a head -----------------------------------------------------------------------------------------------


def _open_headless(backbone: Backbone, source: Source) -> Adapted:
    config, tensors, folder = source.config, source.tensors or {}, source.folder
    assert config is not None
    check_record(backbone, folder)
    if not isinstance(config, LoraConfig) or isinstance(config, AdaLoraConfig):
        if is_converted(config):
            raise LorascopeError(
                f"adapter {folder}: {config.peft_type} without a head cannot be read; save it with "
                "modules_to_save=['projector', 'classifier'], or merge it and give the merged checkpoint"
            )
        return Adapted(place(backbone, config, tensors, source.biases, folder), False)
    if source.biases:
        raise LorascopeError(
            f"adapter {folder}: biases were trained with it, and it has no head, which cannot be read; merge it and "
            "give the merged checkpoint"
        )
    if moves_base(config):
        raise LorascopeError(
            f"adapter {folder}: started by {config.init_lora_weights}, which changes the weights below its factors, "
            "and has no head; merge it and give the merged checkpoint"
        )
    modules = [
        name
        for name, module in backbone.model.named_modules()
        if name.startswith(f"{backbone.model.trunk}.") and isinstance(module, nn.Linear | nn.Conv1d | nn.Embedding)
    ]
    mapped = map_lora(config, tensors, modules)
    if mapped.strays:
        raise LorascopeError(
            f"adapter {folder}: made for another backbone: it adapts {mapped.strays[0]}, which {backbone.name} "
            f"({backbone.layers} layers, width {backbone.width}) "
            "has not; give the backbone that it was trained on"
        )
    elsewhere = ", ".join(f"{count} {words}" for words, count in sorted(mapped.left_out.items()))
    if not mapped.tensors:
        raise LorascopeError(
            f"adapter {folder}: it adapts no linear layer of the encoder ({elsewhere or 'it is empty'}); there is "
            "nothing to analyse"
        )
    check_factors(mapped.tensors, backbone, folder)
    _check_depth(config, mapped.tensors, backbone, folder)
    notes = [f"Left out of the adapter, since only the encoder is analysed: {elsewhere}."] if elsewhere else []
    return Adapted(inject(backbone.model, mapped.config, mapped.tensors, f"adapter {folder}"), False, tuple(notes))


def inject(model: SpeechClassifier, config: LoraConfig, tensors: dict[str, Tensor], what: str) -> PeftModel:
    """A LoRA whose configuration names its modules, with its tensors. Raises `LorascopeError`, which calls it `what`,
    where they don't fit.
    """
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        peft = get_peft_model(model, config)  # pyright: ignore[reportArgumentType]
        assert isinstance(peft, PeftModel)
        try:
            unexpected = set_peft_model_state_dict(peft, tensors).unexpected_keys
        except (RuntimeError, ValueError, KeyError) as error:
            raise LorascopeError(
                f"{what}: its factors don't fit the encoder ({str(error).splitlines()[0]}); give the backbone that it "
                "was trained on"
            ) from error
    if unexpected:
        raise LorascopeError(
            f"{what}: {unexpected[0]} cannot be read; only plain LoRA and DoRA can be analysed without a head"
        )
    settle_head(peft)
    return peft


def _check_depth(config: LoraConfig, tensors: Collection[str], backbone: Backbone, folder: Path) -> None:
    """Raise `LorascopeError` where an adapter that means all blocks alike has not as many as the backbone."""
    targets = config.target_modules or ()
    # a pattern, a whole path or an exclusion may well mean some layers only
    some = isinstance(targets, str) or any("." in target for target in targets) or config.exclude_modules
    layers = {name.split(".layers.")[1].split(".")[0] for name in tensors if ".layers." in name}
    if layers and not some and config.layers_to_transform is None and len(layers) != backbone.layers:
        raise LorascopeError(
            f"adapter {folder}: made for another backbone: it adapts {len(layers)} layers, {backbone.name} has "
            f"{backbone.layers}; give the backbone that it was trained on"
        )


# Whole checkpoints ----------------------------------------------------------------------------------------------------


def _open_checkpoint(backbone: Backbone, source: Source, whole: Backbone) -> Adapted:
    folder, record, model = source.folder, source.record, backbone.model
    if record is not None and record.fingerprint != backbone.fingerprint:
        raise LorascopeError(
            f"adapter {folder}: made for {record.backbone}, not for {backbone.name} (the encoders' weights differ); "
            "give its own backbone with --backbone"
        )
    before, after = _encoder_of(model), _encoder_of(whole.model)
    for name in (*before, *after):
        if name not in before or name not in after or before[name].shape != after[name].shape:
            raise LorascopeError(
                f"adapter {folder}: a checkpoint of another architecture than {backbone.name} ({name} differs); give "
                "the backbone that it was made from"
            )
    if source.head:
        wanted = {name: tensor.shape for name, tensor in _head_of(model).items()}
        if {name: tensor.shape for name, tensor in source.head.items()} != wanted:
            raise LorascopeError(
                f"adapter {folder}: its classifier has {len(source.head['classifier.weight'])} classes, the backbone "
                f"{backbone.name} has {len(wanted and _head_of(model)['classifier.weight'])}, or their projectors "
                "differ; give the backbone that it was made from"
            )
    encoder = "encoder" if model.trunk == "encoder" else f"{model.trunk}.encoder"
    blocks = [f"{encoder}.layers.{layer}" for layer in range(backbone.layers)]
    linears = {
        f"{name}.{linear}": (layer, module)
        for layer, name in enumerate(blocks)
        for module, linear in model.linears.items()
    }
    found = recover(before, after, frozenset(linears))
    if not found.changed:
        raise LorascopeError(f"adapter {folder}: its encoder is that of {backbone.name}; there is nothing to analyse")
    parameters = dict(model.named_parameters())
    put = [name for name in found.changed if not found.low_rank or name.removesuffix(".weight") not in found.pairs]
    changed = [(parameters[name], after[name]) for name in put]
    changed += [(parameters[name], tensor) for name, tensor in source.head.items()]
    inner: Any = _with_pairs(model, found, folder) if found.low_rank else model
    places = {name: linears[name] for name in found.pairs}
    return Adapted(TunedModel(inner, changed), bool(source.head), in_words(found, places, len(before)))


def _with_pairs(model: SpeechClassifier, found: Recovered, folder: Path) -> PeftModel:
    tensors = {}
    for name, pair in found.pairs.items():
        tensors |= {f"{PREFIX}{name}.lora_A.weight": pair.a, f"{PREFIX}{name}.lora_B.weight": pair.b}
    # alpha = rank: the factors hold the whole difference, at scale 1
    ranks = {name: pair.rank for name, pair in found.pairs.items()}
    return inject(model, explicit_lora(ranks, ranks), tensors, f"adapter {folder}")


def _encoder_of(model: SpeechClassifier) -> dict[str, Tensor]:
    return {
        name: parameter.detach().cpu()
        for name, parameter in model.named_parameters()
        if name.startswith(f"{model.trunk}.") and not name.endswith(UNUSED)
    }


def _head_of(model: SpeechClassifier) -> dict[str, Tensor]:
    parts = (*HEAD, "layer_weights")
    return {name: tensor for name, tensor in model.state_dict().items() if name.split(".")[0] in parts}


# Remarks --------------------------------------------------------------------------------------------------------------


def _remarks(model: Any, source: Source) -> list[str]:
    """What must be said of any adapter. Raises `LorascopeError` where nothing of the encoder is adapted."""
    parts = parts_of(model)
    tuners = [module for module in parts.classifier.encoder_module.modules() if isinstance(module, BaseTunerLayer)]
    if not tuners and not isinstance(model, TunedModel):
        raise LorascopeError(
            f"adapter {source.folder}: it adapts no linear layer of the encoder; there is nothing to analyse"
        )
    pairs = parts.adapted()
    notes = ["The weights are a raw state_dict, read as what PEFT saves of it."] if source.raw else []
    if pairs and not any(bool(parts.factors(*key)[1].any()) for key in pairs):
        why = (
            " Stock WavLM reads the weights of its attention's projections past any adapter, so that LoRA trained on "
            "them there stays as it was drawn."
            if parts.classifier.config.model_type == "wavlm"
            else ""
        )
        notes.append(f"The adapter changes nothing: B is exactly zero in every adapted layer.{why}")
    if pairs and len(tuners) > len(pairs):
        notes.append(
            f"{len(tuners) - len(pairs)} adapted layers are none of the blocks' linear layers: they are in place, but "
            "not measured."
        )
    return notes
