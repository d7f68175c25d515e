"""What the adapter does to what is heard, without labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from peft.utils.save_and_load import get_peft_model_state_dict
from scipy.stats import binomtest

from ..examined import Examined, in_words, spread
from ..finding import ALPHA, Found, Unavailable, check
from ..names import layer_of
from ..patient import read_settings

ORDER = 5
#: Differences of the pooled stream up to so many times what a batch in another order makes are rounding.
ROUNDING = 4.0
#: Share of answers and of logit variance below which the adapter does nothing for them.
IDLE = 0.01
#: ‖ΔW‖ / ‖W‖ above which the weight is lost: a hundredth (`IDLE`) of the energy is left of it. Between 1 and this it is
#: a remark: small encoders (width 32) that learn well reach 3.3 within 200 steps at a rate of 1e-3 (rsLoRA of rank 16,
#: whose scale is 8); eleven real ones (Whisper tiny.en on EmoDB) 0.3 at most.
LARGER = 10.0
#: A residual stream so many times as long was blown up: the frozen model's LayerNorms are made for its own length.
LONGER = 10.0
#: Mean lead of the answer over its runner-up, in standard deviations over signals, above which nothing that is heard
#: could change it: eleven real adapters (Whisper tiny.en on EmoDB) lie between 0.8 and 2.6.
DEAF = 1000.0
#: Logits that move by more than this of their spread are other logits.
MOVED = 1e-3
#: All own signals but silence: where nothing is heard a LayerNorm blows up whatever a bias changes.
LOUD = slice(1, None)
#: Unlearnt is what explains that nothing happens.
IDLE_CAUSES = ("never_trained", "keys_unknown", "keys_missing", "scale", "base_changed")


@check(
    "no_effect",
    "the adapter does nothing",
    ["off", "model"],
    IDLE_CAUSES,
    mend="train it, or look at its factors: they are too small to count",
)
def no_effect(examined: Examined) -> Iterator[Found]:
    """Encoder output with the adapter on and off agrees to rounding."""
    on, off = examined.heard.pooled, examined.heard_off.pooled
    difference = float(np.abs(on - off).max())
    noise = examined.rounding
    if difference <= ROUNDING * noise:
        yield Found(
            f"the encoder gives the same with the adapter on and off (largest difference {difference:.1g}, rounding is "
            f"{noise:.1g}): it is the frozen encoder",
            {"largest": difference, "rounding": noise},
        )


@check(
    "head_does_all",
    "the head alone is measured",
    ["off", "answers"],
    ["no_effect", "deaf_to_input", *IDLE_CAUSES],
    mend="nothing, if a weak adapter is meant; else train it longer or at a higher rate",
)
def head_does_all(examined: Examined) -> Iterator[Found]:
    """Without the adapter (its head kept) the same answers and logits. A remark, unless labelled clips show it."""
    if examined.given is not None:
        labelled = examined.labelled
        on, off, heard = labelled.logits, labelled.logits_off, f"{len(labelled.gold)} clips"
    else:
        on, off = examined.heard.logits[LOUD], examined.heard_off.logits[LOUD]
        heard = f"{len(on)} own signals"
    flips = float((on.argmax(1) != off.argmax(1)).mean())
    share = (spread(on - off) / max(spread(on), 1e-12)) ** 2
    if flips <= IDLE and share < IDLE**2:
        yield Found(
            f"without the adapter {flips:.1%} of the answers to {heard} are others, and it makes {share:.1e} of the "
            "logits' variance: what is measured is the head",
            {"flips": flips, "variance": share},
            level="sick" if examined.given is not None else "remark",
        )


@check(
    "exploded",
    "the update is larger than the weight",
    ["off", "model"],
    ["scale", "keys_unknown", "base_changed", "twins"],
    mend="train at a lower rate or scale; take an earlier checkpoint",
)
def exploded(examined: Examined) -> Iterator[Found]:
    """‖ΔW‖ above ‖W‖ in some module, or a residual stream ten times as long."""
    ratios = examined.change
    wrong = {name: ratio for name, ratio in ratios.items() if ratio > 1}
    longer = examined.heard.lengths.mean(0) / np.maximum(examined.heard_off.lengths.mean(0), 1e-12)
    depths = [int(depth) for depth in np.flatnonzero(longer > LONGER)]
    if wrong:
        first = max(wrong, key=wrong.__getitem__)
        lost = wrong[first] > LARGER
        layers = sorted({layer for name in wrong if (layer := layer_of(f"{name}.")) is not None})
        yield Found(
            f"in {len(wrong)} of {len(ratios)} modules the update is larger than the weight itself (up to "
            f"{wrong[first]:.3g} times, {first}): what the encoder knew is {'lost' if lost else 'hardly there'}",
            {"ratios": wrong, "stream": float(longer.max())},
            layers,
            level="sick" if lost else "remark",
        )
    elif depths:
        yield Found(
            f"the residual stream is up to {longer.max():.3g} times as long as the frozen one (from depth {depths[0]})",
            {"stream": [float(value) for value in longer]},
            depths,
        )


@check(
    "deaf_to_input",
    "one answer whatever is heard",
    ["answers"],
    ["exploded", "head_missing", "scale"],
    mend="train it again with balanced classes and a lower rate; look at the classifier's bias",
)
def deaf_to_input(examined: Examined) -> Iterator[Found]:
    """Constant logits, or a lead of one class that nothing heard could change."""
    logits = examined.heard.logits.astype(float)
    one_class = len(set(logits.argmax(1).tolist())) == 1
    ranked = np.sort(logits, axis=1)
    leads = ranked[:, -1] - ranked[:, -2]
    width = float(leads.std())
    constant = spread(logits) <= 1e-6 * max(float(np.abs(logits).max()), 1e-12)
    if one_class and (constant or leads.mean() > DEAF * width):
        answer = int(logits[0].argmax())
        names = examined.class_names if examined.has_names else ()
        name = names[answer] if answer < len(names) else f"class {answer}"
        yield Found(
            f"whatever is heard ({len(logits)} own signals), the answer is {name}, ahead by {leads.mean():.3g} while "
            f"signals move that by {width:.2g}",
            {"answer": answer, "lead": float(leads.mean()), "spread": width},
        )


@check(
    "context",
    "answers depend on the padding",
    ["off", "answers"],
    ["exploded", "deaf_to_input", "scale", "label_order"],
    mend="use it at the length it was trained at (--context of analyze), or train at the length of use",
)
def context(examined: Examined) -> Iterator[Found]:
    """Padding flips answers that it doesn't flip on the frozen encoder. Labelled clips decide which length is wrong."""
    if examined.given is not None:
        labelled = examined.labelled
        if not examined.parts.classifier.has_window:
            return
        other = "full" if labelled.context == "trim" else "trim"
        right = labelled.predicted == labelled.gold
        elsewhere = labelled.answers_with(context=other).argmax(1) == labelled.gold
        better, worse = int((elsewhere & ~right).sum()), int((right & ~elsewhere).sum())
        p = binomtest(better, better + worse, alternative="greater").pvalue if better + worse else 1.0
        if p < ALPHA:
            yield Found(
                f"at {labelled.context}, as it is used, {right.mean():.3f} of the answers are right, at {other} "
                f"{elsewhere.mean():.3f} (p = {p:.1e}): it was trained at another length",
                {labelled.context: float(right.mean()), other: float(elsewhere.mean()), "p": float(p)},
            )
        return
    padded, padded_off = examined.heard_padded
    flips = (examined.heard.answers != padded.answers)[LOUD]
    flips_off = (examined.heard_off.answers != padded_off.answers)[LOUD]
    more, fewer = int((flips & ~flips_off).sum()), int((flips_off & ~flips).sum())
    p = binomtest(more, more + fewer, alternative="greater").pvalue if more + fewer else 1.0
    if p < ALPHA:
        yield Found(
            f"padding changes {flips.sum()} of {len(flips)} answers, and {flips_off.sum()} on the frozen encoder: it "
            "hears its length; give labelled clips to see which length is the right one",
            {"flips": int(flips.sum()), "flips_off": int(flips_off.sum()), "of": len(flips), "p": float(p)},
            level="remark",
        )


@check(
    "merge_changes",
    "another model when merged or saved again",
    ["is_peft", "off", "model"],
    ["exploded", "scale", "base_changed", "keys_missing"],
    mend="keep it unmerged, in float32",
)
def merge_changes(examined: Examined) -> Iterator[Found]:
    """Merging in float32, or saving again, moves logits by more than a thousandth of their spread; in half precision
    that is the rounding of all weights, and a remark.
    """
    saved = get_peft_model_state_dict(examined.model, save_embedding_layers=False) if not examined.converted else {}
    changed = [
        name for name, tensor in saved.items()
        if name in examined.fitting and not torch.equal(tensor.detach().float(), examined.fitting[name])
    ]  # fmt: skip
    if changed:
        yield Found(
            f"loaded and saved again, {len(changed)} tensors are others ({changed[0]} first)", {"saved_again": changed},
        )  # fmt: skip
        return
    on, merged = examined.heard, examined.merged
    scale = max(spread(on.logits), 1e-12)
    moved = float(np.abs(merged.heard.logits - on.logits).max()) / scale
    stored = None if merged.stored is None else float(np.abs(merged.stored.logits - on.logits).max()) / scale
    evidence = {"float32": moved, merged.dtype: stored if stored is not None else moved}
    if moved > MOVED:
        yield Found(
            f"merged in float32, logits move by {moved:.2g} of their spread: the merged model is another", evidence
        )
    elif stored is not None and stored > MOVED:
        yield Found(
            f"merged and rounded to {merged.dtype}, in which it is stored, logits move by {stored:.2g} of their spread "
            f"({moved:.1g} in float32)",
            evidence,
            level="remark",
            mend="merge in float32",
        )


@check(
    "features",
    "another feature extractor",
    ["whole_files"],
    mend="take the preprocessor_config.json that it was trained with",
)
def features(examined: Examined) -> Iterator[Found]:
    """Settings that differ from what the encoder needs, or from the backbone's own."""
    own = examined.patient.settings("preprocessor_config.json")
    if not own:
        return
    needs: dict[str, object] = {"sampling_rate": 16_000}
    unknown: Unavailable | None = None
    try:
        model = examined.checkpoint.model if examined.patient.kind == "whole" else examined.backbone.model
        if hasattr(model.config, "num_mel_bins") and model.has_window:
            needs["feature_size"] = model.config.num_mel_bins
        if examined.has_off:
            folder = Path(examined.backbone.name).expanduser()
            theirs = read_settings(folder / "preprocessor_config.json") if folder.is_dir() else {}
            needs |= {key: theirs[key] for key in COMPARED if key in theirs and key in own}
    except Unavailable as error:
        unknown = error
    wrong = {key: (own[key], need) for key, need in needs.items() if key in own and own[key] != need}
    if wrong:
        told = [f"{key} is {found}, not {need}" for key, (found, need) in wrong.items()]
        yield Found(
            f"its preprocessor_config.json is for another encoder ({in_words(told)}): the encoder hears something else",
            {key: {"found": found, "needed": need} for key, (found, need) in wrong.items()},
        )
    elif unknown is not None:
        raise unknown


#: Settings of feature extractors that change what the encoder hears.
COMPARED = (
    "feature_size",
    "sampling_rate",
    "do_normalize",
    "return_attention_mask",
    "hop_length",
    "n_fft",
    "chunk_length",
)
