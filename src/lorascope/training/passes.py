"""Clips through an encoder, a batch of one context length at a time: logits, and the frozen encoder's pooled stream,
kept on disk.

The frozen encoder gives the same for every head, fold and experiment, so what it gives is kept in the cache: a run with
other heads or folds encodes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..machine.devices import whole_float32
from ..machine.progress import bar
from ..models.weights.backbone import Backbone
from ..sound.decoding import Clip
from ..store.cache import FORM, cache_folder, keep_array, read_array
from ..store.folder import digest
from .data import ClipDataset, LengthBatches, collate


@torch.no_grad()
def predict_clips(
    model: nn.Module, ids: Sequence[str], clips: Mapping[str, Clip], context: str, batch_size: int
) -> np.ndarray:
    """Logits of clips in the order of `ids`, [clips, classes]."""
    return _over_batches(
        lambda features, valid: model(features, valid=valid).logits, model, ids, clips, context, batch_size
    )


def pooled_stream(
    load: Callable[[], Backbone], clips: Mapping[str, Clip], context: str, batch_size: int, device: str
) -> dict[str, np.ndarray]:
    """Every clip's frozen residual stream at every depth, pooled, [layers + 1, width] by id (see
    `SpeechClassifier.pooled_stream`).

    Read from the cache where the same encoder saw the same clips in the same context; else each clip passes through the
    encoder once, and what comes out is cached.
    """
    backbone = load()
    first = {clip.hash: name for name, clip in reversed(list(clips.items()))}
    hashes = sorted(first)
    key = digest(
        [
            backbone.fingerprint,
            backbone.features.key,
            context,
            device,
            hashes,
            [version(package) for package in ("torch", "transformers", "soxr", "soundfile")],
            FORM,
        ]
    )
    stored = cache_folder() / "pooled" / f"{key}.npy"
    shape = (len(hashes), backbone.layers + 1, backbone.width)
    streams = read_array(stored)
    if streams is None or streams.shape != shape:
        model = backbone.model.to(device)  # pyright: ignore[reportArgumentType]
        streams = _encode(model, [first[name] for name in hashes], clips, context, batch_size)
        keep_array(stored, streams)
    rows = {name: row for row, name in enumerate(hashes)}
    return {name: streams[rows[clip.hash]] for name, clip in clips.items()}


@torch.no_grad()
def _encode(model: Any, ids: Sequence[str], clips: Mapping[str, Clip], context: str, batch_size: int) -> np.ndarray:
    return _over_batches(model.pooled_stream, model, ids, clips, context, batch_size)


def _over_batches(
    function: Callable[[Tensor, Tensor | None], Tensor],
    model: nn.Module,
    ids: Sequence[str],
    clips: Mapping[str, Clip],
    context: str,
    batch_size: int,
) -> np.ndarray:
    model.eval()
    device = next(model.parameters()).device
    dataset = ClipDataset(ids, dict.fromkeys(ids, 0), clips, context)
    rows: list[np.ndarray | None] = [None] * len(dataset)
    with whole_float32():
        for indices in bar(LengthBatches(dataset.lengths, batch_size, None), "encoding clips"):
            batch = {key: tensor.to(device) for key, tensor in collate([dataset[index] for index in indices]).items()}
            for index, row in zip(
                indices, function(batch["input_features"], batch.get("valid")).float().cpu().numpy(), strict=True
            ):
                rows[index] = row
    return np.stack([row for row in rows if row is not None])
