"""Everything that the installed PEFT can write, found by its own registries: measured, or refused in a line.

`python -m tests.models.adapters.test_sweep_over_peft` prints how many of each (docs/adapters.md).
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file

from lorascope.errors import LorascopeError
from lorascope.models.adapters.opening import open_adapted
from lorascope.models.families.known import parts_of
from lorascope.models.interventions import Intervention, intervened
from lorascope.models.updates import turnable, turns_all, update_of, why_no_update
from lorascope.models.weights.backbone import load_backbone

from ...tiny import mels, tiny_whisper

FEATURES = mels(frames=60)
HEAD = {"modules_to_save": ["projector", "classifier"]}
#: What kinds of adapters need to be told beside their targets, since their defaults don't fit so small an encoder.
NEEDED = {
    "ADALORA": {"total_step": 10},
    "C3A": {"block_size": 8},
    "IA3": {"feedforward_modules": []},
    "MISS": {"r": 4},
    "ROAD": {"group_size": 8},
    "SHIRA": {"r": 4},
    "VBLORA": {"vector_length": 16, "num_vectors": 8, "r": 2},
    "WAVEFT": {"n_frequency": 20},
}
#: A value other than the default for fields of LoRA's configuration whose type alone doesn't give one.
VALUES = {
    "r": [1, 32],
    "lora_alpha": [1, 5.5],
    "lora_dropout": [0.3],
    "target_modules": ["all-linear", ["fc1", "fc2"], r".*layers\.1\.self_attn\.(q|k)_proj", ["encoder.layers.0.fc1"]],
    "exclude_modules": [["layers.0.self_attn.v_proj"], r".*layers\.1\..*"],
    "modules_to_save": [["classifier"], ["projector"], None, ["projector", "classifier", "layer_norm"]],
    "init_lora_weights": [True, False],
    "layers_to_transform": [[0], 1],
    "layers_pattern": ["layers"],
    "rank_pattern": [{"layers.1.self_attn.v_proj": 2}],
    "alpha_pattern": [{"layers.1.self_attn.v_proj": 2}],
    "target_parameters": [["encoder.layers.0.fc1.weight"]],
    "layer_replication": [[[0, 1], [0, 2]]],
    "alora_invocation_tokens": [[1, 2]],
    "trainable_token_indices": [[0, 1]],
    "task_type": ["FEATURE_EXTRACTION", "SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS", "QUESTION_ANS"],
    "qalora_group_size": [8],
    "revision": ["main"],
    "base_model_name_or_path": ["somewhere/else"],
    "inference_mode": [True],
}
#: Layouts of the file: names as versions and programs write them.
LAYOUTS = {
    "as saved": lambda name: name,
    "without PEFT's prefix": lambda name: name.removeprefix("base_model.model."),
    "with the adapter's name (a raw state_dict)": lambda name: (
        name.replace("lora_A.", "lora_A.default.")
        .replace("lora_B.", "lora_B.default.")
        .replace(".projector.", ".projector.modules_to_save.default.")
        .replace(".classifier.", ".classifier.modules_to_save.default.")
    ),
    "torch.compile": lambda name: name.replace("encoder.", "_orig_mod.encoder."),
    "DDP": lambda name: f"module.{name}",
    "PEFT 0.4 with the wrapper's name": lambda name: name.replace("projector.", "projector.modules_to_save.").replace(
        "classifier.", "classifier.modules_to_save."
    ),
    "names of another program": lambda name: name.replace("lora_A", "lora_down").replace("lora_B", "lora_up"),
}


def lora_settings():
    """(words, settings) for every field of LoRA's configuration in turn, each with values other than the default."""
    for field in dataclasses.fields(LoraConfig):
        values = VALUES.get(field.name)
        if values is None and isinstance(field.default, bool):
            values = [not field.default]
        if values is None:
            values = [v for part in get_args(field.type) for v in get_args(part) if isinstance(v, str)]
            values = values or [v for v in get_args(field.type) if isinstance(v, str)]
        for value in values:
            yield f"{field.name}={value}", {field.name: value}
    for start in ("gaussian", "eva", "olora", "pissa", "pissa_niter_4", "orthogonal", "mica", "loftq", "corda"):
        yield f"init_lora_weights={start}", {"init_lora_weights": start}
    for bias in ("all", "lora_only"):
        yield f"bias={bias}", {"bias": bias}


def write_lora(settings, folder):
    """An adapter with these settings, as PEFT writes it; where PEFT itself makes none of it here, a plain one whose
    configuration says so, since that is what a reader may meet.
    """
    given = {"r": 4, "lora_alpha": 8, "target_modules": ["v_proj"], **HEAD}
    if "layers_pattern" in settings:
        settings = settings | {"layers_to_transform": [0]}
    try:
        write(LoraConfig(**(given | settings)), folder)
    except Exception:
        write(LoraConfig(**given), folder)
        file = folder / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def write(config, folder):
    torch.manual_seed(0)
    task, config.task_type = config.task_type, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft = get_peft_model(tiny_whisper(layers=2), config)
        with torch.no_grad():
            for parameter in peft.parameters():
                if parameter.requires_grad and parameter.is_floating_point():
                    parameter.add_(torch.randn_like(parameter) * 0.05)
        config.task_type = task
        peft.save_pretrained(str(folder))


def write_kind(kind, folder):
    """An adapter of one of PEFT's kinds; of those that need another model, the configuration and one tensor."""
    settings = {"target_modules": ["q_proj", "v_proj"], **HEAD} | NEEDED.get(kind.value, {})
    try:
        write(PEFT_TYPE_TO_CONFIG_MAPPING[kind](**settings), folder)
    except Exception:
        folder.mkdir(exist_ok=True)
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": kind.value}))
        save_file({"prompt_embeddings": torch.zeros(2, 4)}, folder / "adapter_model.safetensors")


def outcome(backbone, folder):
    """Whether the parts add up with the adapter on and off (measured), or a line refuses it; all else raises."""
    opened = load_backbone(str(backbone))
    with torch.no_grad():
        bare = opened.model.encode(FEATURES)
    try:
        adapted = open_adapted(opened, folder)
        parts = parts_of(adapted.model)
        parts.prove(FEATURES, None, bare)
    except LorascopeError as error:
        assert "\n" not in str(error) and len(str(error)) > 40
        return "refused"
    with torch.no_grad():
        logits = adapted.model(FEATURES).logits
        assert torch.isfinite(logits).all()
        # what measures read is what the model computes
        said = parts.apply_head(parts.classifier.encode(FEATURES).mean(1))
        assert torch.allclose(said, logits, atol=1e-4, rtol=1e-3)
        # all dials at 0 are the frozen encoder, and each layer computes W + ΔW where it is linear
        keys = turnable(parts)
        layers = [m for m in parts.classifier.encoder_module.modules() if isinstance(m, BaseTunerLayer)]
        if isinstance(parts.peft, PeftModel) and turns_all(parts) and len(keys) == len(layers):
            with intervened(parts, Intervention(gains=dict.fromkeys(keys, 0.0))):
                assert torch.allclose(parts.classifier.encode(FEATURES), bare, atol=1e-6)
        if keys and why_no_update(parts) is None:
            weight, update = update_of(parts, *keys[0])
            assert torch.allclose(weight.float(), parts.linear(*keys[0]).base_layer.weight, atol=1e-6)
            assert torch.isfinite(update).all()
    return "measured"


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone")
    tiny_whisper(layers=2).save_pretrained(folder)
    return folder


def sweep(backbone, root):
    """(group, words, outcome) of everything."""
    for number, (words, settings) in enumerate(lora_settings()):
        write_lora(settings, root / f"lora-{number}")
        yield "fields of LoRA's configuration", words, outcome(backbone, root / f"lora-{number}")
    for kind in PEFT_TYPE_TO_CONFIG_MAPPING:
        write_kind(kind, root / kind.value)
        yield "kinds of adapters", kind.value, outcome(backbone, root / kind.value)
    for suffix in ("safetensors", "bin"):
        for number, (words, rename) in enumerate(LAYOUTS.items()):
            folder = root / f"{suffix}-{number}"
            write_lora({}, folder)
            file = folder / "adapter_model.safetensors"
            tensors = {rename(name): tensor for name, tensor in load_file(file).items()}
            if suffix == "safetensors":
                save_file(tensors, file)
            else:
                file.unlink()
                torch.save(tensors, folder / "adapter_model.bin")
            yield "layouts of the file", f"{words}, .{suffix}", outcome(backbone, folder)


@pytest.mark.slow
def test_everything_is_measured_or_refused_in_a_line(backbone, tmp_path):
    found = list(sweep(backbone, tmp_path))
    counts = Counter((group, told) for group, _, told in found)
    outcomes = {words: told for _, words, told in found}
    kinds = {words for group, words, told in found if group == "kinds of adapters" and told == "measured"}
    assert {"LORA", "ADALORA", "IA3", "LOHA", "LOKR", "VERA", "OFT", "BOFT", "LN_TUNING", "HRA", "FOURIERFT"} <= kinds
    assert all(outcomes[f"task_type={task}"] == "measured" for task in VALUES["task_type"])
    assert outcomes["init_lora_weights=olora"] == outcomes["bias=all"] == outcomes["use_dora=True"] == "measured"
    assert outcomes["layer_replication=[[0, 1], [0, 2]]"] == outcomes["PROMPT_TUNING"] == "refused"
    refused = {words for group, words, told in found if group == "layouts of the file" and told == "refused"}
    assert refused == {"names of another program, .safetensors", "names of another program, .bin"}
    # PEFT 0.18 knows fewer kinds of adapters and fewer fields
    assert sum(counts.values()) == len(found) > 90


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp())
    tiny_whisper(layers=2).save_pretrained(place / "backbone")
    rows = list(sweep(place / "backbone", place))
    for key, count in sorted(Counter((group, told) for group, _, told in rows).items()):
        print(*key, count, sep=": ")
    print("refused:", "; ".join(words for _, words, told in rows if told == "refused"))
