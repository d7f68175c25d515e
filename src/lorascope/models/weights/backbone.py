"""Find and load a backbone: a folder, an openai-whisper file, a hub id, or a name that the installed wheels know.

The same name works with and without a network: the hub's cache on this machine first, then the hub, then the wheels.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, WhisperConfig
from transformers.utils import logging as transformers_logging

from ...errors import LorascopeError
from ...sound.features import FeatureSettings
from ..classifier import SpeechClassifier, initialise_head
from ..families.known import FAMILIES, feature_settings
from ..families.whisper import WhisperClassifier
from .arrays import EncoderWeights
from .checkpoints import LOAD_ERRORS, check_whole, explain
from .ctranslate2 import is_converted_folder, read_converted_folder
from .openai_whisper import read_checkpoint
from .quantised import dequantised
from .wheels import WHEELS, is_installed, load_wheel

#: Parameters that play no part: the vector that SpecAugment puts on masked frames.
UNUSED = "masked_spec_embed"
#: What torch itself has; None where config.json asks for nothing.
OWN_ATTENTION = (None, "sdpa", "eager")


@dataclass(frozen=True)
class Backbone:
    """A loaded backbone: the stock classifier architecture with an encoder's weights.

    `origin` is "folder", "CTranslate2 folder", "openai-whisper file", "hub cache", "hub" or "wheel"; `fingerprint` the
    SHA-256 over the encoder's tensors; `has_head` says whether projector and classifier came with the weights (else
    they are freshly drawn) and `labels` the class names that the folder gives them; `features` is what the encoder
    takes; `notes` what a reader must know of the loading.
    """

    name: str
    origin: str
    model: SpeechClassifier
    fingerprint: str
    has_head: bool
    labels: tuple[str, ...]
    features: FeatureSettings
    notes: tuple[str, ...] = ()

    @property
    def layers(self) -> int:
        """Number of encoder blocks."""
        return self.model.config.num_hidden_layers

    @property
    def width(self) -> int:
        """Width d of the residual stream."""
        return self.model.config.hidden_size


def hub_id(name: str) -> str:
    """The hub id of a backbone name: `whisper-base` is `openai/whisper-base`, `wavlm-large` `microsoft/wavlm-large`."""
    owner = (
        "microsoft"
        if name.startswith(("wavlm", "unispeech"))
        else "openai"
        if name.startswith("whisper")
        else "facebook"
    )
    return name if "/" in name else f"{owner}/{name}"


def load_backbone(name: str, classes: Sequence[str] | None = None, seed: int = 42, projection: int = 256) -> Backbone:
    """Load an encoder by folder (of Hugging Face or CTranslate2), openai-whisper file (.pt), hub id or short name, in
    float32 and eval mode.

    With `classes` the head (projector to `projection`, classifier) is drawn anew from `seed` for these classes;
    without, a head in the folder is kept. Raises `LorascopeError` in one line where nothing can serve the name, the
    folder has no weights, or they are of a family that is not known.
    """
    origin, target = _find(name)
    if origin == "openai-whisper file":
        return _from_weights(name, origin, read_checkpoint(Path(target)), classes, seed, projection)
    if origin == "CTranslate2 folder":
        return _from_weights(name, origin, read_converted_folder(Path(target)), classes, seed, projection)
    if origin == "wheel":
        weights = load_wheel(target)
        assert weights is not None
        return _from_weights(target, origin, weights, classes, seed, projection)
    offline = {"local_files_only": True} if origin != "hub" else {}
    return _from_pretrained(target, origin, classes, seed, projection, **offline)


def whereabouts(name: str) -> tuple[str, bool]:
    """Where an encoder would come from, in words, and whether it can be had from here; nothing is loaded. Raises
    `LorascopeError` for a folder or a path that holds none.
    """
    folder = Path(name).expanduser()
    try:
        return f"from the {_find(name)[0]}", True
    except LorascopeError as error:
        if folder.exists() or _is_path(name):
            raise
        return str(error).removeprefix(f"backbone {name}: "), False


def _is_path(name: str) -> bool:
    return Path(name).expanduser().is_absolute() or name.startswith((".", "~")) or name.count("/") > 1


def _find(name: str) -> tuple[str, str]:
    """Where a backbone lies, and under which name or path there."""
    folder = Path(name).expanduser()
    if folder.suffix == ".pt" and not folder.is_dir():
        return "openai-whisper file", str(folder)
    if is_converted_folder(folder):
        return "CTranslate2 folder", str(folder)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            # transformers 5.0 guesses the family from the folder's name then
            raise LorascopeError(f"backbone {name}: the folder has no config.json; give one that save_pretrained wrote")
        return "folder", name
    if _is_path(name):
        raise LorascopeError(
            f"backbone {name}: no such folder; give a folder, an openai-whisper .pt file, a hub id "
            "(openai/whisper-base) or a short name"
        )
    target, tried = hub_id(name), []
    if _cached(target):
        return "hub cache", target
    tried.append("it is not in the hub's cache")
    reason = hub_refuses(target)
    if reason is None:
        return "hub", target
    tried.append(reason)
    if is_installed(target):
        return "wheel", target
    if target in WHEELS:
        tried.append("its wheels are not installed")
        way_out = "install them with `pip install 'lorascope[offline]'`"
    else:
        known = ", ".join(sorted(known.removeprefix("openai/") for known in WHEELS))
        tried.append(f"no wheel carries it (they carry {known})")
        way_out = "give a folder that holds it, or run once where the hub can be reached"
    raise LorascopeError(f"backbone {name}: {'; '.join(tried)}; {way_out}")


def with_new_head(backbone: Backbone, classes: Sequence[str], projection: int, seed: int = 42) -> Backbone:
    """The same backbone with a head drawn anew for `classes`, in place; where it has a projector of that width already,
    that one stays.
    """
    model: Any = backbone.model
    kept = model.projector if backbone.has_head and model.projector.out_features == projection else None
    model.projector = torch.nn.Linear(model.projector.in_features, projection)
    model.classifier = torch.nn.Linear(projection, len(classes))
    model.config.classifier_proj_size, model.config.num_labels = projection, len(classes)
    initialise_head(model, seed)
    if kept is not None:
        model.projector = kept
    return replace(backbone, model=model.eval(), labels=())


def _cached(target: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    def has(file: str) -> bool:
        return isinstance(try_to_load_from_cache(target, file), str)

    weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
    return has("config.json") and any(has(file) for file in weights)


def hub_refuses(target: str) -> str | None:
    """Why the hub cannot serve this id, None where it can. One short request, since downloads retry for minutes without
    a network.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        HfApi().model_info(target, timeout=5)
    except OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE is set"
    except RepositoryNotFoundError:
        return f"the hub has no model {target} for you"
    except Exception as error:
        return f"the hub cannot be reached ({type(error).__name__})"
    return None


def _from_pretrained(
    target: str, origin: str, classes: Sequence[str] | None, seed: int, projection: int, **kwargs: Any
) -> Backbone:
    options: dict[str, Any] = {}
    source: str | None = target
    notes: tuple[str, ...] = ()
    if classes is not None:
        options = {
            "num_labels": len(classes),
            "classifier_proj_size": projection,
            "id2label": dict(enumerate(classes)),
            "label2id": {c: i for i, c in enumerate(classes)},
            # the head that is drawn anew is the paper's, on the last depth
            "use_weighted_layer_sum": False,
        }
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = AutoConfig.from_pretrained(target, **kwargs)
            family = FAMILIES.get(config.model_type)
            if family is None:
                known = ", ".join(known.title for known in FAMILIES.values())
                raise LorascopeError(
                    f"backbone {target}: a {config.model_type!r} model, but only encoders of {known} can be read; give "
                    "one of those"
                )
            if getattr(config, "quantization_config", None) is not None:
                tensors, told = dequantised(target)
                delattr(config, "quantization_config")
                config = config.__class__.from_dict(config.to_dict() | options)
                options = {"config": config}
                if tensors is not None:
                    source, notes = None, (told,)
                    options["state_dict"] = tensors
            loader: Any = family.classifier
            asked = getattr(config, "_attn_implementation", None)
            if asked not in OWN_ATTENTION:
                # it may not be installed, and computes in half precision alone
                options["attn_implementation"] = "sdpa" if getattr(loader, "_supports_sdpa", False) else "eager"
            loaded: Any = loader.from_pretrained(
                source,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told below, by name
                dtype=torch.float32,
                **options,
                **kwargs,
            )
    except LOAD_ERRORS as error:
        raise explain(target, error) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    model, info = loaded
    if source is None:
        model.config._name_or_path = model.name_or_path = target
    # the vector that SpecAugment masks with is never used here
    missing = {key for key in info["missing_keys"] if not key.endswith(UNUSED)}
    check_whole(target, family.title, f"{model.trunk}.", missing, info["mismatched_keys"], keeps_head=classes is None)
    if model.config.use_weighted_layer_sum:
        model.sums_normed = model.eval().last_depth_is_normed()
    has_head = classes is None and not missing
    labels = tuple(str(model.config.id2label[i]) for i in range(model.config.num_labels)) if has_head else ()
    if not has_head:
        initialise_head(model, seed)
    settings = feature_settings(model, _normalises(target, **kwargs))
    if "attn_implementation" in options:
        used = options["attn_implementation"]
        notes = (*notes, f"config.json asks for the attention {asked}; it is computed by {used} here")
    return Backbone(target, origin, model.eval(), fingerprint(model), has_head, labels, settings, notes)


def _normalises(target: str, **kwargs: Any) -> bool:
    """Whether the folder's own feature extractor brings waveforms to zero mean and unit variance (yes where it doesn't
    say).
    """
    from transformers import FeatureExtractionMixin

    try:
        settings, _ = FeatureExtractionMixin.get_feature_extractor_dict(target, **kwargs)
    except OSError:
        return True
    return bool(settings.get("do_normalize", True))


def _from_weights(
    target: str, origin: str, weights: EncoderWeights, classes: Sequence[str] | None, seed: int, projection: int
) -> Backbone:
    names = list(classes) if classes is not None else ["LABEL_0", "LABEL_1"]
    config = WhisperConfig(
        d_model=weights.width,
        encoder_layers=weights.layers,
        encoder_attention_heads=weights.heads,
        encoder_ffn_dim=weights.ffn,
        decoder_layers=weights.layers,
        decoder_attention_heads=weights.heads,
        decoder_ffn_dim=weights.ffn,
        num_mel_bins=weights.mels,
        max_source_positions=weights.positions,
        classifier_proj_size=projection,
        id2label=dict(enumerate(names)),
        label2id={c: i for i, c in enumerate(names)},
    )
    model = WhisperClassifier(config)
    model.encoder.load_state_dict({key: torch.from_numpy(array) for key, array in weights.state.items()})
    model.config._name_or_path = model.name_or_path = target
    initialise_head(model, seed)
    return Backbone(target, origin, model.eval(), fingerprint(model), False, (), feature_settings(model))


def fingerprint(model: SpeechClassifier) -> str:
    """SHA-256 over the encoder's tensors in the order of their names, float32."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.encoder_module.state_dict().items()):
        if name.endswith(UNUSED):
            continue
        digest.update(name.encode())
        digest.update(tensor.detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
