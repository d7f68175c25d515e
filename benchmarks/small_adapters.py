"""Small adapters of every kind on small encoders of every family, trained for a few steps as anybody would with PEFT,
and clips that they can be tested on.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import transformers
from peft import AdaLoraConfig, IA3Config, LoraConfig, PeftModel, get_peft_model

from lorascope.models.weights.backbone import load_backbone

CLASSES = ("anger", "happiness", "neutrality", "sadness")
FAMILIES = ("whisper", "wav2vec2", "hubert", "wavlm")
KINDS = ("lora", "rslora", "dora", "adalora", "ia3", "full", "bitfit", "merged")
FACTORED = ("lora", "rslora", "dora", "adalora")
PEFT_KINDS = (*FACTORED, "ia3")
WHOLE = ("full", "bitfit", "merged")
HEAD = ["projector", "classifier"]
#: Targets that adapters are made with, by Whisper's names of a block's linear layers.
TARGETS = (
    ("v_proj",),
    ("q_proj", "v_proj"),
    ("k_proj", "v_proj", "fc2"),
    ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
)


def encoder(family: str, folder: Path, seed: int = 0, layers: int = 3, width: int = 32, head: bool = False) -> Path:
    """A small random encoder of a family in a folder, with a head for `CLASSES` or without one."""
    torch.manual_seed(seed)
    named: dict[str, Any] = {"id2label": dict(enumerate(CLASSES)), "label2id": {n: i for i, n in enumerate(CLASSES)}}
    if family == "whisper":
        config = transformers.WhisperConfig(
            d_model=width, encoder_layers=layers, encoder_attention_heads=4, encoder_ffn_dim=2 * width,
            decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=2 * width, vocab_size=64, pad_token_id=0,
            bos_token_id=1, eos_token_id=2, decoder_start_token_id=3, classifier_proj_size=16, **named,
        )  # fmt: skip
        stock: Any = transformers.WhisperForAudioClassification if head else transformers.WhisperModel
    else:
        title = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}[family]
        config = getattr(transformers, f"{title}Config")(
            hidden_size=width, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=2 * width,
            conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, classifier_proj_size=16,
            vocab_size=64, **named,
        )  # fmt: skip
        stock = getattr(transformers, f"{title}ForSequenceClassification" if head else f"{title}Model")
    model = stock(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # large enough that the parts of a block differ visibly
            if (parameter.dim() == 2 and "embed" not in name) or (family == "whisper" and "conv" in name):
                parameter.mul_(5)
    model.save_pretrained(folder)
    return folder


def sounds(count: int = 24, seed: int = 0, seconds: float = 0.4) -> tuple[list[np.ndarray], np.ndarray]:
    """Tones in noise whose pitch tells the class, [samples] each, and the classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    time = np.arange(int(seconds * 16_000)) / 16_000
    tones = [
        0.3 * np.sin(2 * np.pi * 200 * 2**label * random.uniform(0.85, 1.15) * time + random.uniform(0, 6))
        + 0.02 * random.standard_normal(len(time))
        for label in labels
    ]
    return [tone.astype(np.float32) for tone in tones], labels


def batch(backbone: Any, context: str = "trim", **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of `sounds` as one batch, and labels."""
    tones, labels = sounds(**settings)
    features = [backbone.features.extract(tone) for tone in tones]
    frames = 50 if context == "trim" else 1500
    windows = [each.window(frames if hasattr(each, "columns") else each.valid) for each in features]
    return torch.as_tensor(np.stack(windows)), torch.as_tensor(labels)


@dataclass
class Made:
    """An adapter that was made: its folder, the backbone's, its kind and family, and how it was made."""

    folder: Path
    backbone: Path
    kind: str
    family: str
    settings: dict[str, Any]
    manifest: Path | None = None


def make(
    folder: Path, backbone: Path, kind: str, family: str, steps: int = 10, rank: int = 4, seed: int = 0,
    targets: tuple[str, ...] = ("q_proj", "v_proj"), rate: float = 3e-3, allocate: bool = True,
    head_only: bool = False, keep_head: bool = False, **more: Any,
) -> Made:  # fmt: skip
    """Train an adapter of a kind for so many steps of AdamW and save it, as anybody would with PEFT.

    The head is drawn anew, or with `keep_head` the backbone's own, which stays as it is; it is saved with it. AdaLoRA's
    ranks are allocated at its last step unless `allocate` is false.
    """
    opened = load_backbone(str(backbone)) if keep_head else load_backbone(str(backbone), CLASSES, seed, 16)
    features, labels = batch(opened, seed=seed)
    # as under trim: the mean is over the frames of the clip, whatever the window
    valid = torch.full((8,), 20) if family == "whisper" else None
    model: Any = opened.model
    with torch.no_grad():
        for part in () if keep_head else (model.projector, model.classifier):
            part.weight.mul_(10)
    linears = [model.linears[name] for name in targets]
    torch.manual_seed(seed)
    adapted: Any = _adapted(model, kind, linears, rank, steps, more)
    if head_only or keep_head:
        for name, parameter in adapted.named_parameters():
            of_head = any(part in name for part in HEAD)
            parameter.requires_grad_(parameter.requires_grad and of_head == head_only)
    moving = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(moving, lr=rate, weight_decay=0.0)
    for step in range(steps):
        rows = torch.as_tensor(np.random.default_rng([seed, step]).permutation(len(labels))[:8])
        loss = torch.nn.functional.cross_entropy(adapted(features[rows], valid=valid).logits, labels[rows])
        if kind == "adalora":
            loss = loss + 0.1 * sum(
                ((p.T if "lora_B" in n else p) @ (p if "lora_B" in n else p.T) - torch.eye(min(p.shape))).norm()
                for n, p in adapted.named_parameters()
                if "lora_A" in n or "lora_B" in n
            )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if kind == "adalora" and allocate:
            adapted.base_model.update_and_allocate(step)
    _save(adapted, kind, folder, model)
    settings = {"steps": steps, "rank": rank, "targets": targets, "seed": seed, "rate": rate}
    return Made(folder, backbone, kind, family, settings)


def record(made: Made, context: str = "trim") -> None:
    """Note beside an adapter what lorascope notes: classes, context, backbone."""
    fingerprint = load_backbone(str(made.backbone)).fingerprint
    noted = {"method": made.kind, "classes": CLASSES, "context": context, "backbone": str(made.backbone)}
    noted |= {"fingerprint": fingerprint, "lorascope": "0.1.0"}
    (made.folder / "lorascope.json").write_text(json.dumps(noted))


def clips(folder: Path, count: int = 48, wrong: float = 0.0) -> Path:
    """A manifest of `sounds`, of four speakers; a share of the labels is wrong (all: shuffled)."""
    folder.mkdir(parents=True, exist_ok=True)
    tones, labels = sounds(count, seed=0)
    random = np.random.default_rng(1)
    moved = random.random(count) < wrong
    given = np.where(moved, random.permutation(labels) if wrong == 1 else (labels + 1 + labels % 2) % 4, labels)
    lines = ["path,speaker,emotion"]
    for number, (tone, label) in enumerate(zip(tones, given, strict=True)):
        soundfile.write(folder / f"{number}.wav", tone, 16_000)
        lines.append(f"{number}.wav,speaker{number // 4 % 4},{CLASSES[label]}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def _adapted(model: Any, kind: str, linears: list[str], rank: int, steps: int, more: Mapping[str, Any]) -> Any:
    if kind in ("full", "bitfit"):
        for name, parameter in model.named_parameters():
            whole = kind == "full" and "feature_extractor" not in name and "embed_positions" not in name
            parameter.requires_grad_(
                whole or (name.endswith("bias") and "layers." in name) or name.split(".")[0] in HEAD
            )
        return model
    shared: dict[str, Any] = {"target_modules": linears, "modules_to_save": HEAD} | dict(more)
    if kind == "ia3":
        config: Any = IA3Config(
            feedforward_modules=[name for name in linears if name == model.linears["fc2"]], **shared
        )
    elif kind == "adalora":
        config = AdaLoraConfig(
            init_r=rank + 2, target_r=rank, lora_alpha=2 * rank, total_step=max(steps, 3), tinit=0, tfinal=1,
            deltaT=1, **shared,
        )  # fmt: skip
    else:
        config = LoraConfig(r=rank, lora_alpha=2 * rank, use_rslora=kind == "rslora", use_dora=kind == "dora", **shared)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_peft_model(model, config)


def _save(adapted: Any, kind: str, folder: Path, model: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "merged":
            adapted = adapted.merge_and_unload()
        adapted.save_pretrained(str(folder))
    if kind in WHOLE:
        file = folder / "config.json"
        settings = json.loads(file.read_text()) | {"architectures": [model.stock.__name__]}
        file.write_text(json.dumps(settings))


def rate_of(kind: str) -> float:
    """A usual learning rate for a kind: full fine-tuning at a tenth of LoRA's, IA3 and biases at more."""
    return {"full": 2e-4, "merged": 1e-3, "ia3": 3e-3, "bitfit": 1e-3}.get(kind, 1e-3)


def plain_logits(made: Made) -> tuple[np.ndarray, list[str]]:
    """Logits of 8 sounds by transformers and PEFT alone, and what they warned of."""
    stock: Any = load_backbone(str(made.backbone)).model.stock
    inputs, _ = batch(load_backbone(str(made.backbone)), "full", count=8, seed=5)
    with warnings.catch_warnings(record=True) as caught, torch.no_grad():
        warnings.simplefilter("always")
        if made.kind in WHOLE:
            model: Any = stock.from_pretrained(str(made.folder))
        else:
            base = stock.from_pretrained(str(made.backbone), num_labels=len(CLASSES), classifier_proj_size=16)
            model = PeftModel.from_pretrained(base, str(made.folder))
        logits = model.eval()(inputs).logits.numpy()
    told = [str(each.message) for each in caught if not issubclass(each.category, DeprecationWarning | FutureWarning)]
    return logits, told
