"""Names and shapes of the tensors against those that PEFT would look for."""

from __future__ import annotations

from collections.abc import Iterator

from ..examined import Examined, in_words, is_of_head
from ..finding import Found, check
from ..names import is_factor, layer_of

ORDER = 1


@check("keys_unknown", "tensors that no module takes", ["whole_files"], mend="--fix renames what fits by another name")
def keys_unknown(examined: Examined) -> Iterator[Found]:
    """What PEFT (or transformers) would drop in silence, or with a warning at most."""
    if examined.patient.kind == "whole":
        renamed, strays, total = examined.whole_names
    else:
        names = examined.names
        renamed, strays, total = names.renamed, names.strays, len(examined.raw)
        renamed = {} if names.foreign else renamed
    wrong = [*renamed, *strays]
    if not wrong:
        return
    layers = sorted({layer for name in strays if (layer := layer_of(name)) is not None})
    evidence = {"tensors": len(wrong), "of": total, "first": wrong[0], "renamable": len(renamed)}
    told = f"{len(wrong)} of {total} tensors fit no module of the backbone ({wrong[0]} first) and would be dropped"
    mend = None
    if renamed:
        evidence["why"] = examined.why_renamed(renamed)
        told += f"; {len(renamed)} would fit under other names ({evidence['why']})"
    else:
        mend = "give the backbone that it was trained on (--backbone)"
    if strays and layers:
        told += f"; there is no such module in {in_words([f'layer {layer}' for layer in layers])}"
    yield Found(told, evidence, layers, mend=mend)


@check("keys_missing", "tensors that are promised and not there", ["whole_files"], mend="save the adapter again")
def keys_missing(examined: Examined) -> Iterator[Found]:
    """What the configuration promises and the file lacks: PEFT leaves it as it is drawn, a B zero."""
    if examined.patient.kind == "whole":
        missing = examined.whole_missing
        total = len(missing) + len(examined.patient.shapes)
    else:
        missing = [name for name in examined.names.missing if not (is_of_head(name) and not examined.head_of_backbone)]
        total = len(examined.names.expected) or len(missing) + len(examined.names.fits)
    if not missing:
        return
    layers = sorted({layer for name in missing if (layer := layer_of(name)) is not None})
    head = all(is_of_head(name) for name in missing)
    yield Found(
        f"{len(missing)} of {total} tensors that the configuration promises are not in the file ({missing[0]} first): "
        "they stay as they are drawn when it is loaded",
        {"tensors": len(missing), "of": total, "first": missing[0], "missing": missing},
        layers,
        mend="--fix copies the head of the backbone, which has it" if head else None,
    )


@check(
    "shape",
    "factors of another width or rank",
    ["is_peft", "names"],
    ["base_changed"],
    mend="give the backbone and the adapter_config.json that belong to these weights",
)
def shape(examined: Examined) -> Iterator[Found]:
    """Against the backbone's widths and the configuration's ranks."""
    wrong = examined.wrong_shapes
    if wrong:
        first, (found, expected) = next(iter(wrong.items()))
        yield Found(
            f"{len(wrong)} tensors have another shape than backbone and configuration say: {first} is {list(found)}, "
            f"not {list(expected)}: PEFT cannot load them",
            {name: {"found": list(one), "expected": list(other)} for name, (one, other) in wrong.items()},
            sorted({layer for name in wrong if (layer := layer_of(name)) is not None}),
        )


@check(
    "everything_trained",
    "most of the encoder is in the adapter",
    ["is_peft", "names"],
    mend="name the head alone in modules_to_save, and save with save_pretrained",
)
def everything_trained(examined: Examined) -> Iterator[Found]:
    """Encoder weights that are saved whole beside the factors; an adapter of half of an encoder is no adapter."""
    blocks = sum(tensor.numel() for name, tensor in examined.weights.items() if layer_of(name) is not None)
    raw = {name: tensor for name, tensor in examined.raw.items() if layer_of(name) is not None and not is_factor(name)}
    held = sum(tensor.numel() for tensor in raw.values())
    if held > blocks / 2:
        yield Found(
            f"{held / blocks:.0%} of the parameters of the encoder's blocks are saved whole with the adapter "
            f"({in_words(sorted(raw), 1)}): it is not the factors that were trained, or not they alone",
            {"share": held / blocks, "modules_to_save": examined.patient.config.get("modules_to_save")},
        )
