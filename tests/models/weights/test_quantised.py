"""Backbones that bitsandbytes quantised, read without it: every number is the one that the codes stand for."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BitsAndBytesConfig, WhisperForAudioClassification

from lorascope.errors import LorascopeError
from lorascope.models.weights.backbone import load_backbone
from lorascope.models.weights.quantised import from_bitsandbytes

from ...tiny import mels, tiny_whisper

NAME = "encoder.layers.1.fc1.weight"


def in_8_bits(weight, draw):
    """Tensors as bitsandbytes names them, and what they stand for, number by number."""
    codes = [[draw.randint(-127, 127) for _ in range(weight.shape[1])] for _ in range(weight.shape[0])]
    scales = [draw.uniform(0.1, 2) for _ in codes]
    meant = [[code * scale / 127 for code in row] for row, scale in zip(codes, scales, strict=True)]
    stored = {NAME: torch.tensor(codes, dtype=torch.int8), NAME.replace("weight", "SCB"): torch.tensor(scales)}
    return stored | {f"{NAME}_format": torch.tensor(0, dtype=torch.uint8)}, torch.tensor(meant)


def in_4_bits(weight, draw, kind="nf4", double=False):
    levels = sorted(draw.uniform(-1, 1) for _ in range(16))
    codes = [draw.randrange(16) for _ in range(weight.numel())]
    blocks = len(codes) // 64
    state = {"quant_type": kind, "blocksize": 64, "dtype": "float32", "shape": list(weight.shape)}
    stored = {NAME: torch.tensor([[16 * a + b] for a, b in zip(codes[::2], codes[1::2], strict=True)]).byte()}
    stored[f"{NAME}.quant_map"] = torch.tensor(levels)
    if double:
        state |= {"nested_blocksize": 8, "nested_dtype": "float32", "nested_offset": 0.25}
        nested, maxima = [draw.uniform(-1, 1) for _ in range(256)], [draw.uniform(0, 2) for _ in range(blocks // 8)]
        of = [draw.randrange(256) for _ in range(blocks)]
        scales = [nested[code] * maxima[place // 8] + 0.25 for place, code in enumerate(of)]
        stored[f"{NAME}.absmax"] = torch.tensor(of).byte()
        stored |= {f"{NAME}.nested_absmax": torch.tensor(maxima), f"{NAME}.nested_quant_map": torch.tensor(nested)}
    else:
        scales = [draw.uniform(0, 2) for _ in range(blocks)]
        stored[f"{NAME}.absmax"] = torch.tensor(scales)
    stored[f"{NAME}.quant_state.bitsandbytes__{kind}"] = torch.tensor(list(json.dumps(state).encode())).byte()
    meant = torch.tensor([levels[code] * scales[place // 64] for place, code in enumerate(codes)])
    return stored, meant.reshape(weight.shape)


LAYOUTS = {
    "8 bits": in_8_bits,
    "nf4": in_4_bits,
    "fp4": lambda weight, draw: in_4_bits(weight, draw, "fp4"),
    "nf4, twice": lambda weight, draw: in_4_bits(weight, draw, double=True),
}


def quantised_folder(folder, layout):
    """A saved backbone, one of whose weights is replaced; and the whole weight that it stands for."""
    tiny_whisper(layers=2).save_pretrained(folder)
    file = folder / "config.json"
    told = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": told}))
    tensors = load_file(folder / "model.safetensors")
    stored, meant = LAYOUTS[layout](tensors.pop(NAME), random.Random(1))
    save_file(tensors | stored, folder / "model.safetensors")
    return meant


@pytest.mark.parametrize("layout", LAYOUTS)
def test_codes_are_the_numbers_that_they_stand_for(tmp_path, layout):
    meant = quantised_folder(tmp_path, layout)
    backbone = load_backbone(str(tmp_path))
    assert torch.allclose(backbone.model.encoder.layers[1].fc1.weight, meant, atol=1e-6)
    assert backbone.has_head and backbone.model.name_or_path == str(tmp_path)
    kind = layout.removesuffix(", twice")
    assert len(backbone.notes) == 1 and f"weights are quantised (bitsandbytes, {kind});" in backbone.notes[0]
    untouched = tiny_whisper(layers=2).encoder.layers[0].fc1.weight
    assert torch.equal(backbone.model.encoder.layers[0].fc1.weight, untouched)
    assert load_backbone(str(tmp_path), ("a", "b")).model.config.num_labels == 2


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.int8])
def test_other_layouts_are_refused_in_a_line(tmp_path, kind):
    quantised_folder(tmp_path, "nf4")
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["encoder.layers.0.fc1.weight"] = tensors["encoder.layers.0.fc1.weight"].to(kind)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(LorascopeError, match=r"its weights are quantised .* not as bitsandbytes writes them") as caught:
        load_backbone(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"load_in_8bit": True},
        {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
        {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    ],
)
def test_what_bitsandbytes_saves_is_what_it_computes(tmp_path, settings):
    library = pytest.importorskip("bitsandbytes")
    tiny_whisper(layers=2, width=64).save_pretrained(tmp_path / "plain")
    config = BitsAndBytesConfig(**settings)
    stock = WhisperForAudioClassification.from_pretrained(
        tmp_path / "plain", quantization_config=config, device_map={"": "cpu"}, dtype=torch.float32
    )
    stock.save_pretrained(tmp_path / "quantised")
    found, _ = from_bitsandbytes(load_file(tmp_path / "quantised" / "model.safetensors"))
    layers = [(f"{name}.weight", module) for name, module in stock.named_modules() if "Linear" in type(module).__name__]
    for name, module in layers:
        weight = module.weight
        if "load_in_8bit" in settings:
            own = library.functional.int8_vectorwise_dequant(weight.data, weight.SCB)
        elif weight.dtype == torch.uint8:
            own = library.functional.dequantize_4bit(weight.data, weight.quant_state)
        else:
            own = weight
        assert torch.allclose(found[name], own.float(), atol=1e-6), name
    assert torch.isfinite(load_backbone(str(tmp_path / "quantised")).model.encode(mels())).all()
