"""Tracing against plain hooks and autograd on real (tiny) models, and the measures on what it gives."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode

from lorascope.analysis.batches import BatchLimits, batches_of
from lorascope.analysis.kept_frames import Space
from lorascope.analysis.measures import MEASURES
from lorascope.analysis.one_pass import computed, trace
from lorascope.analysis.prefix import SharedPrefix
from lorascope.analysis.states import ModelStates
from lorascope.analysis.study import study_of
from lorascope.experiment.config import MEASURES as DEFAULT
from lorascope.machine.devices import has_cuda
from lorascope.models.families.whisper import WhisperParts
from lorascope.models.weights.backbone import load_backbone

from ..tiny import CLASSES, mels, plain_adapter, tiny_whisper

aten = torch.ops.aten
TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
FRAMES = {"a": 60, "b": 100, "c": 100, "d": 60, "e": 100, "f": 60, "g": 100, "h": 60, "i": 60, "j": 100}
SOUNDS = {clip: mels(1, 100, seed=number)[0] for number, clip in enumerate(FRAMES)}


class Recorder:
    """A measure that keeps everything."""

    def __init__(self, names):
        self.names = frozenset(names)
        self.seen = {}

    def parts(self, model):
        return self.names if model != "frozen" else self.names - {"lora_a", "lora_b", "grad_lora_a", "grad_lora_b"}

    def replays(self, model):
        return frozenset()

    def update(self, part):
        assert not part.tensor.requires_grad
        for row, tensor in zip(part.batch.rows.tolist(), part.tensor.clone(), strict=True):
            self.seen[part.model, part.name, part.layer, part.module, row] = tensor


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone")
    tiny_whisper().save_pretrained(folder)
    backbone = load_backbone(str(folder))
    head = {
        name: tensor.clone()
        for name, tensor in backbone.model.state_dict().items()
        if name.split(".")[0] in ("projector", "classifier")
    }
    return ModelStates(WhisperParts(plain_adapter(backbone.model, targets=TARGETS)), head)


@pytest.fixture(scope="module")
def clips():
    names = list(FRAMES)
    return pd.DataFrame(
        {
            "clip": names,
            "speaker": ["x", "y"] * 5,
            "emotion": [CLASSES[i % 4] for i in range(10)],
            "label": [i % 4 for i in range(10)],
            "frames": [FRAMES[n] - 7 for n in names],
        }
    )


def batches(clips, size=3, pools_valid=True):
    return batches_of(clips, lambda clip, frames: SOUNDS[clip][:, : 2 * frames], FRAMES, BatchLimits(size), pools_valid)


def test_batches_hold_every_clip_once_and_one_length(clips):
    found = list(batches(clips))
    assert sorted(row for batch in found for row in batch.rows.tolist()) == list(range(10))
    for batch in found:
        assert {FRAMES[clips["clip"][row]] for row in batch.rows.tolist()} == {batch.features.shape[-1] // 2}


def test_long_clips_come_in_smaller_batches(clips):
    found = batches_of(clips, lambda clip, frames: SOUNDS[clip][:, : 2 * frames], FRAMES, BatchLimits(4, 200), True)
    sizes = [(batch.frames, len(batch.rows)) for batch in found]
    assert sizes == [(60, 3), (60, 2), (100, 2), (100, 2), (100, 1)]
    # nine clips that need three batches of four come as three of three
    nine = [len(part) for part in np.array_split(range(9), BatchLimits(4).batches(9, 60))]
    assert nine == [3, 3, 3]
    alone = batches_of(clips, lambda clip, frames: SOUNDS[clip][:, : 2 * frames], FRAMES, BatchLimits(4, 10), True)
    assert {len(batch.rows) for batch in alone} == {1}


@pytest.mark.parametrize("pools_valid", [True, False])
def test_parts_and_gradients_equal_plain_hooks_and_autograd(states, clips, pools_valid):
    names = (
        "resid_pre",
        "lora_a",
        "lora_b",
        "attn_out",
        "mlp_out",
        "resid_post",
        "final_norm",
        "logits",
        "grad_lora_a",
        "grad_lora_b",
    )
    recorder = Recorder(names)
    trace(states, batches(clips, pools_valid=pools_valid), [recorder])
    peft, parts = states.parts.peft, states.parts
    for row in (0, 1):
        clip = clips["clip"][row]
        outputs, handles = {}, []

        def keep(key, outputs=outputs):
            def hook(module, inputs, output):
                output = output[0] if isinstance(output, tuple) else output
                if output.requires_grad:
                    output.retain_grad()
                outputs[key] = output

            return hook

        for layer, block in enumerate(parts.blocks):
            handles.append(block.register_forward_hook(keep(("resid_post", layer, None))))
            handles.append(block.self_attn.register_forward_hook(keep(("attn_out", layer, None))))
            handles.append(block.fc2.register_forward_hook(keep(("mlp_out", layer, None))))
            for module in TARGETS:
                linear = getattr(block.self_attn, module)
                handles.append(linear.lora_A["default"].register_forward_hook(keep(("lora_a", layer, module))))
                handles.append(linear.lora_B["default"].register_forward_hook(keep(("lora_b", layer, module))))
                linear.lora_A["default"].weight.requires_grad_(True)
        valid = torch.tensor([int(clips["frames"][row])]) if pools_valid else None
        logits = peft(SOUNDS[clip][None, :, : 2 * FRAMES[clip]], valid=valid).logits
        torch.nn.functional.cross_entropy(logits, torch.tensor([int(clips["label"][row])])).backward()
        for handle in handles:
            handle.remove()
        assert torch.allclose(recorder.seen["trained", "logits", 3, None, row], logits[0], atol=1e-5)
        for (name, layer, module), tensor in outputs.items():
            assert torch.allclose(recorder.seen["trained", name, layer, module, row], tensor[0], atol=1e-4), (
                name,
                layer,
            )
            if name.startswith("lora"):
                expected = tensor.grad[0]
                found = recorder.seen["trained", f"grad_{name}", layer, module, row]
                assert expected.abs().max() > 0
                assert torch.allclose(found, expected, atol=1e-6 + 1e-4 * float(expected.abs().max())), (
                    name,
                    layer,
                    module,
                )


def test_a_clips_gradient_does_not_depend_on_its_batch(states, clips):
    one, many = Recorder(("grad_lora_b",)), Recorder(("grad_lora_b",))
    trace(states, batches(clips, size=1), [one])
    trace(states, batches(clips, size=5), [many])
    assert one.seen.keys() == many.seen.keys()
    for key, tensor in one.seen.items():
        assert torch.allclose(tensor, many.seen[key], atol=1e-6 + 1e-4 * float(tensor.abs().max())), key


def test_under_autocast_measures_get_single_precision_of_each_models_own_weights(states, clips):
    names = ("resid_pre", "attn_out", "mlp_out", "lora_a", "grad_lora_b", "logits")
    single, half = Recorder(names), Recorder(names)
    trace(states, batches(clips), [single])
    trace(states, batches(clips), [half], precision="bf16")
    assert single.seen.keys() == half.seen.keys()
    assert {tensor.dtype for tensor in half.seen.values()} == {torch.float32}
    for name in names:
        keys = [key for key in single.seen if key[1] == name]
        assert any(not torch.equal(single.seen[key], half.seen[key]) for key in keys), name
    # bfloat16 has eight bits: a part is some hundredths off, while another model's weights would
    # make another part of it
    for key, exact in single.seen.items():
        if key[1] != "grad_lora_b" and exact.norm() > 0:
            assert float((half.seen[key] - exact).norm() / exact.norm()) < 0.05, key
    gradients = [key for key in single.seen if key[1] == "grad_lora_b" and key[0] == "norm-matched"]
    exact, found = (torch.cat([x.seen[key].flatten() for key in gradients]) for x in (single, half))
    assert float(torch.nn.functional.cosine_similarity(exact, found, dim=0)) > 0.98


class Asked(TorchDispatchMode):
    """Notes every operation whose result the host waits for, on whatever device."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket in (aten._local_scalar_dense, aten.equal, aten.nonzero, aten.is_nonzero):
            self.seen.append(function)
        return function(*args, **(kwargs or {}))


def test_no_measure_asks_the_device_for_a_number(states, clips):
    """On a GPU each such question would make the host wait for all that was computed so far."""
    study = study_of(states, clips, CLASSES, seed=0, draws=60)
    found = list(batches(clips))
    with Asked() as asked:
        trace(
            states, iter(found), [MEASURES[name](study) for name in ("contribution", "lens", "ranks", "spectra", "cka")]
        )
        assert not asked.seen
        bool((torch.ones(2) > 0).all())
        assert asked.seen


def test_tracing_leaves_the_model_as_it_was(states, clips):
    features = mels()
    with torch.no_grad():
        before = states.parts.peft(features).logits
    states.parts.peft.zero_grad(set_to_none=True)
    trace(states, batches(clips), [Recorder(("lora_a", "grad_lora_b"))])
    with torch.no_grad():
        assert torch.equal(states.parts.peft(features).logits, before)
    assert all(parameter.grad is None for parameter in states.parts.peft.parameters())


@pytest.fixture(scope="module")
def tables(states, clips):
    study = study_of(states, clips, CLASSES, seed=0, draws=60)
    measures = [MEASURES[name](study) for name in DEFAULT]
    recorder = Recorder(("lora_a", "lora_b", "grad_lora_a", "grad_lora_b", "logits"))
    trace(states, batches(clips), [*measures, recorder])
    found = {}
    for measure in measures:
        found |= measure.compute()
    return found, recorder.seen


def test_every_default_measure_gives_its_table_from_one_pass(tables):
    found, _ = tables
    assert set(found) == {
        "contribution",
        "lens",
        "ranks",
        "rank_scores",
        "spectra",
        "spectra_summary",
        "cka",
        "erasure",
    }
    assert all(len(table) for table in found.values())
    columns = {
        "contribution": ["model", "layer", "component", "variant", "frames", "ratio", "cosine"],
        "lens": ["model", "layer", "variant", "kl", "jsd", "overlap", "accuracy", "uar", "entropy", "top_class_share"],
        "ranks": ["model", "rank", "layer", "clip", "x", "y"],
        "rank_scores": ["model", "rank", "layer"],
        "spectra": ["model", "layer", "module", "factor", "quantity", "variant", "index", "energy"],
        "spectra_summary": [
            "model",
            "layer",
            "module",
            "factor",
            "quantity",
            "variant",
            "k90",
            "participation",
            "entropy_rank",
        ],
        "cka": [
            "layer",
            "module",
            "pair",
            "quantity",
            "kernel",
            "estimator",
            "variant",
            "value",
            "ci_low",
            "ci_high",
            "null_low",
            "null_high",
        ],
        "erasure": ["layer", "mode", "accuracy", "uar", "loss", "confidence"],
    }
    for name, wanted in columns.items():
        assert set(wanted) <= set(found[name].columns), name


@pytest.mark.parametrize(
    ("factor", "quantity", "part"),
    [
        ("A", "activation", "lora_a"),
        ("B", "activation", "lora_b"),
        ("A", "gradient", "grad_lora_a"),
        ("B", "gradient", "grad_lora_b"),
    ],
)
def test_streamed_spectra_equal_a_full_svd(tables, factor, quantity, part):
    """Issue 2, "Shown by" 4: 1e-5, on what a real model gave."""
    found, seen = tables
    table = found["spectra"]
    for model in ("trained", "norm-matched"):
        for layer in range(3):
            for module in TARGETS:
                rows = np.concatenate([seen[model, part, layer, module, row].double().numpy() for row in range(10)])
                power = np.linalg.svd(rows, compute_uv=False) ** 2
                energy = np.cumsum(power) / power.sum()
                chosen = table[
                    (table.model == model)
                    & (table.layer == layer)
                    & (table.module == module)
                    & (table.factor == factor)
                    & (table.quantity == quantity)
                    & (table.variant == "paper")
                ].sort_values("index")
                streamed = chosen["energy"].to_numpy()
                count = min(len(streamed), len(energy))
                assert count >= 4
                np.testing.assert_allclose(streamed[:count], energy[:count], atol=1e-5)


def test_the_corrected_lens_of_the_last_layer_is_the_model(tables):
    found, seen = tables
    lens = found["lens"]
    last = lens[(lens.variant == "corrected") & (lens.layer == 3) & (lens.model == "trained")].iloc[0]
    assert last["kl"] == pytest.approx(0, abs=1e-6) and last["overlap"] == 1
    predicted = np.array([int(seen["trained", "logits", 3, None, row].argmax()) for row in range(10)])
    assert last["accuracy"] == pytest.approx((predicted == np.arange(10) % 4).mean())


def test_corrected_cka_equals_an_independent_computation(tables, clips):
    """Linear CKA from the features themselves by the U-statistic of Song et al. (2012), eq. 5, in float64."""
    found, seen = tables

    def hsic(k, m):
        n = len(k)
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        one = np.ones(n)
        return (
            np.trace(k @ m)
            + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (one @ k @ m @ one)
        ) / (n * (n - 3))

    for layer in range(3):
        sides = []
        for part in ("lora_a", "lora_b"):
            pooled = np.stack(
                [
                    seen["trained", part, layer, "v_proj", row][: int(clips["frames"][row])].double().mean(0).numpy()
                    for row in range(10)
                ]
            )
            sides.append(pooled @ pooled.T)
        expected = hsic(*sides) / np.sqrt(hsic(sides[0], sides[0]) * hsic(sides[1], sides[1]))
        cka = found["cka"]
        row = cka[
            (cka.layer == layer)
            & (cka.module == "v_proj")
            & (cka.pair == "A~B:trained")
            & (cka.quantity == "activation")
            & (cka.kernel == "linear")
            & (cka.variant == "corrected")
        ]
        assert len(row) == 1
        assert row["value"].iloc[0] == pytest.approx(expected, abs=1e-5)


def counted(monkeypatch, module, name, counts):
    """Count the real runs of a module's forward."""
    forward = module.forward

    def counting(*inputs, **named):
        counts[name] = counts.get(name, 0) + 1
        return forward(*inputs, **named)

    monkeypatch.setattr(module, "forward", counting)


NAMES = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post", "lora_a", "grad_lora_b", "final_norm", "logits")


@pytest.mark.parametrize("first", [0, 2])
def test_what_lies_below_the_adapter_runs_once_for_all_models(clips, first, tmp_path, monkeypatch):
    tiny_whisper().save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path))
    peft = plain_adapter(backbone.model, targets=("v_proj",), layers_to_transform=[first])
    states = ModelStates(WhisperParts(peft), None, ("gaussian", "permuted"))
    encoder = states.parts.classifier.encoder_module
    counts = {}
    counted(monkeypatch, encoder.conv2, "stem", counts)
    for layer, block in enumerate(encoder.layers):
        counted(monkeypatch, block, layer, counts)
    shared = Recorder(NAMES)
    trace(states, batches(clips), [shared])
    total = len(list(batches(clips)))
    assert counts == {"stem": total, **{layer: total * (1 if layer < first else 4) for layer in range(3)}}

    monkeypatch.setattr("lorascope.analysis.prefix._first_adapted", lambda parts: None)
    alone = Recorder(NAMES)
    trace(states, batches(clips), [alone])
    assert counts["stem"] == total * 5
    assert shared.seen.keys() == alone.seen.keys()
    for key, tensor in alone.seen.items():
        torch.testing.assert_close(shared.seen[key], tensor, msg=str(key))


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["conv2", "v_proj"]},
        {"target_modules": ["v_proj"], "modules_to_save": ["conv2", "classifier"]},
    ],
)
def test_nothing_is_shared_where_an_adapter_changes_what_lies_before_the_blocks(tmp_path, settings):
    tiny_whisper().save_pretrained(tmp_path)
    model = load_backbone(str(tmp_path)).model
    peft = get_peft_model(model, LoraConfig(r=2, **settings))
    prefix = SharedPrefix(WhisperParts(peft))
    assert prefix.depth == 0 and not prefix._modules


@pytest.mark.skipif(not has_cuda(), reason="needs a GPU")
@pytest.mark.parametrize("room", [0, 1 << 30], ids=["frames leave the GPU", "frames stay"])
def test_a_gpu_gives_what_the_processor_gives(states, clips, room):
    """All tables but the pictures of the rank space, to 1e-4; also where the frames of the flattened variants
    have no room on the GPU.
    """
    tables = {}
    for device in ("cpu", "cuda"):
        states.parts.peft.to(device)
        moved = ModelStates(states.parts, {name: tensor.to(device) for name, tensor in frozen_head(states).items()})
        study = study_of(moved, clips, CLASSES, seed=0, draws=60)
        study = replace(study, space=Space(on_device=room))
        measures = {name: MEASURES[name](study) for name in MEASURES}
        found = batches_of(
            clips, lambda clip, frames: SOUNDS[clip][:, : 2 * frames], FRAMES, BatchLimits(4), True, device
        )
        trace(moved, found, list(measures.values()))
        tables[device] = computed(measures)
    states.parts.peft.to("cpu")
    for stem, expected in tables["cpu"].items():
        numbers = [column for column in expected.select_dtypes("number") if (stem, column) not in PICTURE]
        np.testing.assert_allclose(tables["cuda"][stem][numbers], expected[numbers], rtol=1e-4, atol=1e-4, err_msg=stem)


#: Where a t-SNE puts a clip depends on the last digit of what it is given.
PICTURE = {("ranks", "x"), ("ranks", "y")}


def frozen_head(states):
    with states.parts.adapter(on=False):
        return {
            f"{name}.{kind}": tensor.detach().clone()
            for name, part in zip(("projector", "classifier"), states.parts.head(), strict=True)
            for kind, tensor in (("weight", part.weight), ("bias", part.bias))
        }
