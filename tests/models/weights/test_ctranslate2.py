"""Encoders converted by CTranslate2's own converter, read back and held to the original's weights and to
CTranslate2's own output.
"""

import copy
import struct

import ctranslate2
import numpy as np
import pytest
import torch
from ctranslate2.converters.transformers import WhisperLoader
from transformers import WhisperForConditionalGeneration

from lorascope.errors import LorascopeError
from lorascope.models.weights import wheels as offline
from lorascope.models.weights.backbone import load_backbone
from lorascope.models.weights.ctranslate2 import dequantised, encoder_from_tensors, is_converted_folder, read_tensors

from ...tiny import CLASSES, mels, tiny_config

#: Half of the distance between neighbouring numbers at 1 (unit roundoff), and the smallest number's
#: half distance to zero.
ROUNDOFF = {"float32": (0.0, 0.0), "float16": (2.0**-11, 2.0**-25), "bfloat16": (2.0**-8, 2.0**-134)}
#: Precision of the converter: the steps from zero to a matrix' (row's) largest value, and what all else is stored in.
PRECISIONS = {
    "float32": (None, "float32"),
    "float16": (None, "float16"),
    "bfloat16": (None, "bfloat16"),
    "int16": (1024, "float32"),
    "int8": (127, "float32"),
    "int8_float32": (127, "float32"),
    "int8_float16": (127, "float16"),
    "int8_bfloat16": (127, "bfloat16"),
}


def convert(model, folder, precision):
    """Save a Hugging Face model as a CTranslate2 folder (the converter works on the model's own
    memory, hence the copy).
    """
    spec = WhisperLoader().get_model_spec(copy.deepcopy(model))
    spec.register_vocabulary([f"<|{token}|>" for token in range(model.config.vocab_size)])
    spec.validate()
    spec.optimize(precision)
    folder.mkdir()
    spec.save(str(folder))
    return folder


@pytest.fixture(scope="module")
def source():
    """A random Whisper whose parts all differ, but for one matrix that two blocks share."""
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(tiny_config()).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
        first, _, last = model.model.encoder.layers
        last.fc1.weight.copy_(first.fc1.weight)
    return model


@pytest.fixture(scope="module", params=PRECISIONS)
def converted(request, source, tmp_path_factory):
    return request.param, convert(source, tmp_path_factory.mktemp("converted") / request.param, request.param)


@pytest.fixture
def folder(source, tmp_path):
    return convert(source, tmp_path / "converted", "float16")


def largest(state, name):
    """The largest absolute value that shares a scale with each element: of its row for int8, of the stored matrix
    (q, k and v are one) for int16.
    """
    parts = [name.replace(f"{p}_proj", f"{other}_proj") for p in "qkv" if f".{p}_proj" in name for other in "qkv"]
    rows = state[name].abs().flatten(1).amax(dim=1).reshape(-1, *[1] * (state[name].dim() - 1))
    return {127: rows, 1024: torch.stack([state[part].abs().amax() for part in parts or [name]]).amax()}


def test_every_weight_is_within_half_a_step_of_the_original(converted, source):
    precision, folder = converted
    steps, floats = PRECISIONS[precision]
    backbone = load_backbone(str(folder), CLASSES)
    assert backbone.origin == "CTranslate2 folder" and not backbone.has_head
    assert backbone.model.config.num_labels == 4
    read, original = backbone.model.encoder.state_dict(), source.model.encoder.state_dict()
    assert read.keys() == original.keys()
    for name, tensor in original.items():
        error = (read[name] - tensor).abs()
        relative, absolute = ROUNDOFF[floats]
        if steps and name.endswith("weight") and tensor.dim() > 1 and "embed_positions" not in name:
            step = largest(original, name)[steps] / steps
            # besides the rounding to a step, scale and quotient are rounded to float32
            assert (error <= step * (0.5 + steps * 2.0**-22)).all(), name
            assert (error > 0).any() and (error > step / 4).any(), name  # and it has really been through integers
        else:
            assert (error <= tensor.abs() * relative + absolute).all(), name


def test_the_output_is_ctranslate2s_own(converted):
    """CTranslate2 computing in float32 dequantises these very weights; what is left is the order of the sums."""
    _, folder = converted
    features = mels(clips=1, frames=1500)
    theirs = ctranslate2.models.Whisper(str(folder), compute_type="float32")
    output = np.array(theirs.encode(ctranslate2.StorageView.from_array(features.numpy())))
    with torch.no_grad():
        ours = load_backbone(str(folder)).model.encode(features).numpy()
    assert np.linalg.norm(ours - output) / np.linalg.norm(output) < 1e-5


def test_the_output_is_the_originals_as_far_as_the_precision_goes(converted, source):
    precision, folder = converted
    features = mels(clips=1, frames=1500)
    with torch.no_grad():
        original = source.model.encoder(features).last_hidden_state
        ours = load_backbone(str(folder)).model.encode(features)
    error = float((ours - original).norm() / original.norm())
    # a rounding moves a matrix' output by at most about one unit; 2 + 3 * 4 matrices follow each other, and in random
    # ones most of it cancels
    steps, floats = PRECISIONS[precision]
    unit = max(ROUNDOFF[floats][0], 0.5 / steps if steps else 0.0)
    assert error < (14 * unit if unit else 1e-5)


def test_a_shared_matrix_is_stored_once_and_read_twice(source, tmp_path):
    folder = convert(source, tmp_path / "int8", "int8")
    assert b"encoder/layer_2/ffn/linear_0/weight_scale" not in (folder / "model.bin").read_bytes()
    state = load_backbone(str(folder)).model.encoder.state_dict()
    assert torch.equal(state["layers.2.fc1.weight"], state["layers.0.fc1.weight"])


def test_a_folder_without_config_is_known_by_its_model_bin(folder):
    (folder / "config.json").unlink()
    assert load_backbone(str(folder)).origin == "CTranslate2 folder"


def test_a_hugging_face_folder_is_not_taken_for_a_converted_one(source, folder):
    source.save_pretrained(folder)
    assert not is_converted_folder(folder)
    assert load_backbone(str(folder)).origin == "folder"


def test_128_mel_bins(tmp_path):
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(tiny_config(num_mel_bins=128))
    backbone = load_backbone(str(convert(model, tmp_path / "wide", "int8_float16")))
    assert backbone.model.config.num_mel_bins == 128


# what is refused


def refusal(folder):
    with pytest.raises(LorascopeError) as caught:
        load_backbone(str(folder))
    message = str(caught.value)
    assert "\n" not in message and str(folder / "model.bin") in message
    assert "convert it anew with ct2-transformers-converter" in message
    return message


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.98, 0.9999])
def test_a_file_that_was_cut_off_is_told(folder, kept):
    data = (folder / "model.bin").read_bytes()
    (folder / "model.bin").write_bytes(data[: int(len(data) * kept)])
    message = refusal(folder)
    assert ("cannot be read" if kept == 0 else "not a whole CTranslate2 model file") in message


def test_a_file_of_another_kind_is_told(folder, source):
    torch.save(source.state_dict(), folder / "model.bin")
    refusal(folder)


def test_another_model_of_ctranslate2_is_told(folder):
    data = (folder / "model.bin").read_bytes()
    (folder / "model.bin").write_bytes(data.replace(b"WhisperSpec", b"MarianNSpec", 1))
    assert "'MarianNSpec', expected format 6 of 'WhisperSpec'" in refusal(folder)


def renamed(folder, old, new):
    data = (folder / "model.bin").read_bytes()
    assert len(old) == len(new) and data.count(old) >= 1
    (folder / "model.bin").write_bytes(data.replace(old, new))


def test_a_missing_tensor_is_told(folder):
    renamed(folder, b"encoder/layer_1/ffn/linear_1/bias", b"encoder/layer_1/ffn/linear_1/bian")
    assert "no tensor encoder/layer_1/ffn/linear_1/bias" in refusal(folder)


def test_missing_heads_are_told(folder):
    renamed(folder, b"encoder/num_heads", b"encoder/num_headz")
    assert "no tensor encoder/num_heads" in refusal(folder)


def test_an_alias_of_nothing_is_told(source, tmp_path):
    folder = convert(source, tmp_path / "int8", "int8")
    data = (folder / "model.bin").read_bytes()
    name = b"encoder/layer_0/ffn/linear_0/weight\0"
    at = data.rindex(name)  # the last mention is the alias' target
    (folder / "model.bin").write_bytes(data[:at] + name.replace(b"linear_0", b"linear_7") + data[at + len(name) :])
    assert "stands for encoder/layer_0/ffn/linear_7/weight, which is not there" in refusal(folder)


def test_missing_scales_are_told(source, tmp_path):
    folder = convert(source, tmp_path / "int8", "int8")
    renamed(folder, b"encoder/conv1/weight_scale", b"encoder/conv1/weight_scalf")
    assert "encoder/conv1/weight is quantised (int8) without its scale" in refusal(folder)


def test_a_wrong_size_is_told(folder):
    data = (folder / "model.bin").read_bytes()
    name = b"encoder/layer_0/ffn/linear_1/weight\0"
    old, new = (name + struct.pack("<BII", 2, *shape) for shape in ((32, 64), (64, 32)))
    assert data.count(old) == 1
    (folder / "model.bin").write_bytes(data.replace(old, new))
    assert "layers.0.fc2.weight has shape [64, 32], expected [32, 64]" in refusal(folder)


def test_values_that_are_not_finite_are_told(source, tmp_path):
    broken = copy.deepcopy(source)
    with torch.no_grad():
        broken.model.encoder.layers[1].fc2.bias[3] = float("nan")
    folder = convert(broken, tmp_path / "nan", "float32")
    assert "layers.1.fc2.bias holds values that are not finite" in refusal(folder)


@pytest.mark.parametrize(
    "scale", [np.ones(3, np.float32), np.array([1, 0], np.float32), np.ones(2, np.int8), np.array([1, np.nan])]
)
def test_a_scale_that_does_not_fit_is_refused(scale):
    tensors = {"w": np.ones((2, 4), np.int8), "w_scale": scale}
    with pytest.raises(LorascopeError, match=r"x\.bin: w is quantised \(int8\) without its scale"):
        dequantised(tensors, "w", "x.bin")


def test_a_file_that_is_no_model_is_refused():
    with pytest.raises(LorascopeError, match="format"):
        read_tensors(b"\x06\x00\x00\x00\x03\x00ab\x00\x00\x00\x00\x00", "x.bin")
    with pytest.raises(LorascopeError, match="not a whole CTranslate2 model file"):
        read_tensors(b"\x06\x00", "x.bin")


def test_an_unknown_element_type_is_refused():
    header = struct.pack("<IH", 6, 12) + b"WhisperSpec\0" + struct.pack("<II", 3, 1)
    with pytest.raises(LorascopeError, match=r"x\.bin: tensor w has element type 9"):
        read_tensors(header + struct.pack("<H", 2) + b"w\0" + struct.pack("<BIBI", 1, 1, 9, 4) + bytes(4), "x.bin")


def test_a_bias_on_k_is_refused():
    data = offline.wheel_bytes("openai/whisper-tiny.en")
    assert data is not None
    tensors = read_tensors(data, "tiny.en")
    tensors["encoder/layer_2/self_attention/linear_0/bias"] = np.ones(1152, np.float16)
    with pytest.raises(LorascopeError, match="layer 2 has a bias on k"):
        encoder_from_tensors(tensors, "x.bin")
