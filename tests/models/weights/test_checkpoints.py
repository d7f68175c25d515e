"""Folders of fine-tuned Whispers as Hugging Face saves and has saved them, whole and damaged."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperForAudioClassification, WhisperForConditionalGeneration, WhisperModel

from lorascope.errors import LorascopeError
from lorascope.models.weights.backbone import load_backbone

from ...tiny import CLASSES, tiny_config

KINDS = (WhisperModel, WhisperForConditionalGeneration, WhisperForAudioClassification)


def save_bin(model, folder, shards=1):
    """Save as `pytorch_model.bin`, the format before safetensors, in one file or in shards with their index."""
    model.config.save_pretrained(folder)
    state = model.state_dict()
    names = sorted(state)
    if shards == 1:
        return torch.save(state, folder / "pytorch_model.bin")
    weight_map = {}
    for shard in range(shards):
        file = f"pytorch_model-{shard + 1:05d}-of-{shards:05d}.bin"
        torch.save({name: state[name] for name in names[shard::shards]}, folder / file)
        weight_map |= dict.fromkeys(names[shard::shards], file)
    size = sum(tensor.nbytes for tensor in state.values())
    index = json.dumps({"metadata": {"total_size": size}, "weight_map": weight_map})
    return (folder / "pytorch_model.bin.index.json").write_text(index)


SAVERS = {
    "safetensors": lambda model, folder: model.save_pretrained(folder),
    "sharded safetensors": lambda model, folder: model.save_pretrained(folder, max_shard_size="60KB"),
    "bin": save_bin,
    "sharded bin": lambda model, folder: save_bin(model, folder, 3),
}


@pytest.mark.parametrize("saver", SAVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_whisper_gives_its_encoder(tmp_path, kind, saver):
    torch.manual_seed(0)
    source = kind(tiny_config())
    SAVERS[saver](source, tmp_path)
    assert (len(list(tmp_path.glob("*-of-*"))) > 1) == saver.startswith("sharded")
    backbone = load_backbone(str(tmp_path))
    encoder = source.get_encoder() if kind is not WhisperForAudioClassification else source.encoder
    read = backbone.model.encoder.state_dict()
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(read[name], tensor), name
    assert backbone.has_head == (kind is WhisperForAudioClassification) and backbone.origin == "folder"


@pytest.mark.parametrize("saver", ["safetensors", "bin"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(tmp_path, dtype, saver):
    torch.manual_seed(0)
    source = WhisperForConditionalGeneration(tiny_config()).to(dtype)
    SAVERS[saver](source, tmp_path)
    backbone = load_backbone(str(tmp_path), CLASSES)
    assert {parameter.dtype for parameter in backbone.model.parameters()} == {torch.float32}
    for name, tensor in source.get_encoder().state_dict().items():
        assert torch.equal(backbone.model.encoder.state_dict()[name], tensor.float()), name


# what is refused


@pytest.fixture
def folder(tmp_path):
    WhisperForConditionalGeneration(tiny_config()).save_pretrained(tmp_path)
    return tmp_path


def refusal(folder, named, classes=CLASSES):
    with pytest.raises(LorascopeError) as caught:
        load_backbone(str(folder), classes)
    message = str(caught.value)
    assert "\n" not in message and str(named) in message
    return message


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\0" * 64, None])
def test_damaged_safetensors_are_told(folder, content):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-5000] if content is None else content)
    message = refusal(folder, file)
    assert "not a whole safetensors file" in message and "download or save it again" in message


def test_the_damaged_shard_is_named(tmp_path):
    WhisperModel(tiny_config()).save_pretrained(tmp_path, max_shard_size="60KB")
    shard = sorted(tmp_path.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:100])
    assert "not a whole safetensors file" in refusal(tmp_path, shard)


def test_a_missing_shard_is_named(tmp_path):
    WhisperModel(tiny_config()).save_pretrained(tmp_path, max_shard_size="60KB")
    shard = sorted(tmp_path.glob("*.safetensors"))[1]
    shard.unlink()
    assert "give a folder or hub id" in refusal(tmp_path, shard)


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_index_is_told(tmp_path, content):
    WhisperModel(tiny_config()).save_pretrained(tmp_path, max_shard_size="60KB")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(content)
    assert "not a list of shards" in refusal(tmp_path, index)


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_damaged_bin_is_told(tmp_path, content):
    save_bin(WhisperModel(tiny_config()), tmp_path)
    file = tmp_path / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:-5000] if content is None else content)
    message = refusal(tmp_path, file)
    assert "not a whole PyTorch file of plain tensors" in message and "save_pretrained" in message


class Command:
    """An object whose unpickling runs a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_code_in_a_bin_is_refused_and_not_run(tmp_path):
    model = WhisperModel(tiny_config())
    save_bin(model, tmp_path)
    trace = tmp_path / "trace"
    torch.save(model.state_dict() | {"more": Command(f"touch {trace}")}, tmp_path / "pytorch_model.bin")
    message = refusal(tmp_path, tmp_path / "pytorch_model.bin")
    assert "code would have to be run" in message and not trace.exists()
    assert "weights_only" not in message  # the loader's own text advises to switch the check off


@pytest.mark.parametrize("content", ["{", '{"model_type": "whisper", "d_model": "wide"}'])
def test_a_damaged_config_is_told(folder, content):
    (folder / "config.json").write_text(content)
    assert "config.json" in refusal(folder, folder)


@pytest.mark.parametrize("classes", [None, CLASSES])
def test_encoder_weights_of_another_size_are_told_whether_or_not_a_head_is_drawn(folder, classes):
    file = folder / "model.safetensors"
    tensors = load_file(file) | {"model.encoder.layers.1.fc1.weight": torch.zeros(7, 32)}
    save_file(tensors, file, metadata={"format": "pt"})
    message = refusal(folder, folder, classes)
    assert "encoder.layers.1.fc1.weight has shape [7, 32], but config.json asks for [64, 32]" in message


def test_a_head_of_another_size_is_told_where_it_would_be_kept(tmp_path):
    WhisperForAudioClassification(tiny_config()).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file(load_file(file) | {"classifier.weight": torch.zeros(5, 16)}, file, metadata={"format": "pt"})
    assert "classifier.weight has shape [5, 16]" in refusal(tmp_path, tmp_path, None)
    assert not load_backbone(str(tmp_path), CLASSES).has_head
