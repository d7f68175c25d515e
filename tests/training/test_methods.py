"""Every way of adapting on real (tiny) models: only what may change changes, and what is saved loads the stock way."""

import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel
from transformers import TrainerCallback

from lorascope.corpora import load_corpus, make_folds
from lorascope.errors import LorascopeError
from lorascope.experiment import methods
from lorascope.experiment.planning import Cell
from lorascope.experiment.trainer import PLAIN, TrainerConfig
from lorascope.models.adapters.building import adapt
from lorascope.models.adapters.folder import load_adapter
from lorascope.models.weights.backbone import load_backbone
from lorascope.store.folder import RunFolder
from lorascope.training import cell as cells
from lorascope.training.fit import LengthTrainer
from lorascope.training.inputs import Inputs
from lorascope.training.passes import predict_clips
from lorascope.work.kinds.cell import run_cell
from lorascope.work.sources import prepare

from ..tiny import CLASSES, mels, tiny_whisper
from ..waveforms import tiny_waveform_model

WIDTH, MIDDLE, LAYERS = 32, 64, 3
HEAD = WIDTH * 16 + 16 + 16 * 4 + 4
QUICK = {"epochs": 2, "learning_rate": (1e-2,)}
RANKED = {"rank": 4, "alpha": 8, "dropout": 0.0}
KINDS = {
    "lora": methods.LoraConfig(**RANKED, **QUICK, targets=("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")),
    "some": methods.LoraConfig(**RANKED, **QUICK, targets=("fc1", "v_proj"), layers=(0, 2)),
    "rslora": methods.RsLoraConfig(**RANKED, **QUICK),
    "pissa": methods.PissaConfig(**RANKED, **QUICK),
    "adalora": methods.AdaLoraConfig(**RANKED, **QUICK, targets=("v_proj", "fc2")),
    "dora": methods.DoraConfig(**RANKED, **QUICK),
    "ia3": methods.Ia3Config(**QUICK),
    "full": methods.FullConfig(epochs=1, learning_rate=(1e-3,)),
    "bitfit": methods.BitFitConfig(**QUICK),
}
# from the formulas: A and B of rank 4 are 4 (in + out) parameters
SQUARE, UP = 4 * 2 * WIDTH, 4 * (WIDTH + MIDDLE)
TRAINED = {
    "lora": LAYERS * (4 * SQUARE + 2 * UP) + HEAD,
    "some": 2 * (SQUARE + UP) + HEAD,
    "rslora": LAYERS * SQUARE + HEAD,
    "pissa": LAYERS * SQUARE + HEAD,
    # it starts at rank 6, with one E for each direction
    "adalora": LAYERS * 6 * ((2 * WIDTH + 1) + (WIDTH + MIDDLE + 1)) + HEAD,
    "dora": LAYERS * (SQUARE + WIDTH) + HEAD,
    "ia3": LAYERS * (WIDTH + WIDTH + MIDDLE) + HEAD,
    # attention (k without a bias), fc1, fc2, two LayerNorms; the convolutions and the last LayerNorm
    "full": LAYERS * (4 * WIDTH**2 + 3 * WIDTH + 2 * WIDTH * MIDDLE + MIDDLE + WIDTH + 4 * WIDTH)
    + (80 * WIDTH * 3 + WIDTH) + (WIDTH * WIDTH * 3 + WIDTH) + 2 * WIDTH + HEAD,
    "bitfit": LAYERS * (3 * WIDTH + MIDDLE + WIDTH + 2 * WIDTH) + 2 * WIDTH + WIDTH + HEAD,
}  # fmt: skip


class Setting:
    def __init__(self, manifest, folder):
        table = load_corpus("csv", manifest)
        self.load = lambda: load_backbone(str(folder), CLASSES, 42, 16)
        backbone = self.load()
        self.fingerprint = backbone.fingerprint
        clips = prepare(table, backbone)
        labels = {clip: CLASSES.index(emotion) for clip, emotion in table.clips["emotion"].items()}
        self.inputs = Inputs(clips, labels, table.clips["speaker"].to_dict(), self.load, "cpu")
        self.fold = make_folds(table)[0]

    def train(self, method, out, trainer=PLAIN):
        cell = Cell(method, self.fold, "tiny", "trim", CLASSES, 16, "fp32", 42, trainer=trainer)
        run = RunFolder(out)
        metrics = run_cell(cell, self.inputs, run, self.fingerprint)
        return metrics, run.cell(metrics["hash"])


@pytest.fixture(scope="module")
def whisper(corpus, backbone_folder):
    return Setting(corpus, backbone_folder)


@pytest.fixture(scope="module")
def wav2vec2(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wav2vec2")
    tiny_waveform_model("wav2vec2", layers=2).save_pretrained(folder)
    return Setting(corpus, folder)


@pytest.fixture(scope="module")
def trained(whisper, tmp_path_factory):
    """(metrics, folder) of one cell a kind, trained once."""
    done = {}

    def get(kind):
        if kind not in done:
            done[kind] = whisper.train(KINDS[kind], tmp_path_factory.mktemp(kind))
        return done[kind]

    return get


def stock(model, folder):
    """The saved model by the stock classes, and its state under the names of the bare model."""
    if (folder / "config.json").is_file():
        loaded = type(model).from_pretrained(str(folder)).eval()
        return loaded, loaded.state_dict()
    peft = PeftModel.from_pretrained(model, str(folder)).eval()
    state = {name.removeprefix("base_model.model."): tensor for name, tensor in peft.state_dict().items()}
    return peft, {name.replace(".base_layer", "").replace(".original_module", ""): t for name, t in state.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_may_change_changes_and_the_stock_classes_load_it(whisper, trained, kind):
    metrics, folder = trained(kind)
    assert metrics["trainable_parameters"] == TRAINED[kind] and metrics["method"] == KINDS[kind].kind
    before = tiny_whisper().state_dict()
    model, after = stock(tiny_whisper(), folder / "adapter")
    changed = {name for name in before if name.startswith("encoder.") and not torch.equal(before[name], after[name])}
    encoder = {name for name in before if name.startswith("encoder.")}
    if kind == "full":
        assert changed == encoder - {"encoder.embed_positions.weight"}
    elif kind == "bitfit":
        assert changed == {name for name in encoder if name.endswith("bias")}
    else:
        assert not changed
    # the stock model and lorascope's say the same of the full window
    ours = cells.load_trained(whisper.load(), folder / "adapter", metrics["method"])
    with torch.no_grad():
        features = mels(frames=1500)
        bare = tiny_whisper().encoder(features).last_hidden_state
        logits = model(features).logits
        assert torch.allclose(logits, ours(features).logits, atol=1e-5)
        encoded = model.get_base_model().encoder(features) if isinstance(model, PeftModel) else model.encoder(features)
        assert not torch.allclose(bare, encoded.last_hidden_state, atol=1e-3)
    kept = pd.read_parquet(folder / "predictions.parquet")
    predicted = predict_clips(ours, list(kept["clip"]), whisper.inputs.clips, "trim", 4)
    np.testing.assert_allclose(kept[[f"logit_{name}" for name in CLASSES]], predicted, atol=1e-4)


@pytest.mark.parametrize("kind", methods.LORA_KINDS)
def test_what_has_two_factors_is_kept_as_plain_lora(whisper, trained, kind):
    _, folder = trained(kind)
    peft = load_adapter(whisper.load(), folder / "adapter")
    config = peft.peft_config["default"]
    assert config.peft_type == "LORA" and config.init_lora_weights is True
    ranks = [len(tensor) for name, tensor in peft.state_dict().items() if "lora_A" in name]
    if kind == "adalora":
        # the final budget over all six layers
        assert 0 < sum(ranks) <= 4 * 6 and len(set(config.rank_pattern.values())) > 1
    else:
        # PiSSA's starting point is told beside its end
        assert ranks == [8 if kind == "pissa" else 4] * (LAYERS * len(KINDS[kind].targets))


def test_a_layer_that_is_not_there_is_refused(whisper):
    method = methods.Ia3Config(layers=(1, 3))
    with pytest.raises(LorascopeError, match=r"IA3 .*: no layer 3; the encoder's are 0 to 2"):
        adapt(whisper.load().model, method, 0)


@pytest.mark.parametrize("kind", ["lora", "bitfit", "full"])
def test_encoders_on_waveforms_are_adapted_too(wav2vec2, tmp_path, kind):
    metrics, folder = wav2vec2.train(KINDS[kind].model_copy(update={"epochs": 1}), tmp_path)
    before = tiny_waveform_model("wav2vec2", layers=2).state_dict()
    model, after = stock(tiny_waveform_model("wav2vec2", layers=2), folder / "adapter")
    changed = {name for name in before if not torch.equal(before[name], after[name])} - {
        name for name in before if name.split(".")[0] in ("projector", "classifier")
    }
    fixed = ("wav2vec2.feature_extractor.", "wav2vec2.masked_spec_embed")
    if kind == "lora":
        assert not changed
        assert metrics["trainable_parameters"] == 2 * (4 * SQUARE + 2 * UP) + HEAD
    elif kind == "bitfit":
        moved = {name for name in before if name.endswith("bias") and name.startswith("wav2vec2.")}
        # a bias on all keys shifts all of a query's scores alike, so its gradient is zero but for rounding
        moved = {name for name in moved if "k_proj" not in name and not name.startswith(fixed)}
        assert moved <= changed and all(name.endswith("bias") for name in changed)
    else:
        moving = {n for n in before if n.startswith("wav2vec2.") and not n.startswith(fixed)}
        assert changed >= {n for n in moving if "k_proj.bias" not in n}
    assert not any(name.startswith(fixed) for name in changed)
    ours = cells.load_trained(wav2vec2.load(), folder / "adapter", kind)
    with torch.no_grad():
        sound = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(model(sound).logits, ours(sound).logits, atol=1e-5)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm"])
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_activations_may_be_computed_again_in_base_models(corpus, tmp_path, family, kind):
    """The first convolution's norm goes by each clip's own columns, in a batch of unequal clips also the second
    time.
    """
    tiny_waveform_model(family, layers=2).save_pretrained(tmp_path / "backbone")
    setting = Setting(corpus, tmp_path / "backbone")
    batches = KINDS[kind].model_copy(update={"epochs": 1, "batch_size": 4})
    plain, _ = setting.train(batches, tmp_path / "plain")
    again, _ = setting.train(batches, tmp_path / "again", trainer=TrainerConfig(gradient_checkpointing=True))
    assert plain["hash"] == again["hash"] and "warnings" not in again
    assert again["loss"] == pytest.approx(plain["loss"], rel=1e-5)
    assert again["validation"]["loss"] == pytest.approx(plain["validation"]["loss"], rel=1e-5)


@pytest.mark.parametrize("settings", [methods.Ia3Config, methods.LoraConfig])
def test_layers_keep_some_blocks(whisper, settings):
    model = adapt(whisper.load().model, settings(targets=("v_proj", "fc2"), layers=(0, 2)), 0)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    blocks = {name.split(".layers.")[1][0] for name in trained if ".layers." in name}
    assert blocks == {"0", "2"}


def test_adalora_continues_with_its_importances(whisper, tmp_path, monkeypatch):
    method = KINDS["adalora"].model_copy(update={"epochs": 3})
    undisturbed, folder = whisper.train(method, tmp_path / "a")

    class Stop(TrainerCallback):
        def on_epoch_begin(self, args, state, control, **kwargs):
            if state.epoch and state.epoch >= 1:
                raise KeyboardInterrupt

    trainer = LengthTrainer
    original = trainer.__init__

    def interrupted(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.add_callback(Stop())

    monkeypatch.setattr(trainer, "__init__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        whisper.train(method, tmp_path / "b")
    monkeypatch.setattr(trainer, "__init__", original)
    continued, again = whisper.train(method, tmp_path / "b")
    assert continued["candidates"] == undisturbed["candidates"]
    file = "adapter/adapter_model.safetensors"
    assert (folder / file).read_bytes() == (again / file).read_bytes()
