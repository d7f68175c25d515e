"""Recipes of training: what each part does, that the paper's leaves everything as it was, and that draws depend on
seed, clip and epoch alone.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from transformers import TrainerControl, TrainerState

from lorascope.errors import LorascopeError
from lorascope.experiment.methods import AdaLoraConfig, FullConfig, LoraConfig
from lorascope.experiment.recipe import PAPER, PRESETS, Recipe
from lorascope.models.adapters.building import adapt
from lorascope.models.classifier import Head, initialise_head
from lorascope.models.families.whisper import WhisperClassifier
from lorascope.models.objective import Objective, balanced_weights
from lorascope.sound.decoding import Clip
from lorascope.sound.features import LogMelSettings
from lorascope.statistics.shallow import fit_logistic
from lorascope.store.folder import RunFolder
from lorascope.training.augmented import Drawing, DrawnClips
from lorascope.training.data import ClipDataset, LengthBatches, ShareLoader, ShareOfBatches, Weighted, collate
from lorascope.training.epochs import LastEpochs, Patience
from lorascope.training.fit import fit
from lorascope.training.head_start import set_head
from lorascope.work.kinds.cell import run_cell

from ..tiny import mels, tiny_config
from .test_cell import make, setting  # noqa: F401

SETTINGS = LogMelSettings()


def clips_of(count):
    random = np.random.default_rng(0)
    lengths = random.integers(8000, 17_000, count)
    sounds = {f"c{i}": random.standard_normal(n).astype(np.float32) * 0.1 for i, n in enumerate(lengths)}
    clips = {
        name: Clip(f"{number + 17:064x}", 1.0, SETTINGS.extract(sound))
        for number, (name, sound) in enumerate(sounds.items())
    }
    labels = {name: number % 4 for number, name in enumerate(sounds)}
    return sounds, clips, labels


def drawn(recipe, seed=1, count=8, order=None):
    sounds, clips, labels = clips_of(count)
    drawing = Drawing(recipe, seed, 4, SETTINGS, sounds.__getitem__)
    return DrawnClips(order or list(clips), labels, clips, "trim", drawing)


# Identity -------------------------------------------------------------------------------------------------------------


def test_what_is_the_papers_is_no_part_of_a_cells_identity():
    before = {"learning_rate", "epochs", "batch_size", "weight_decay", "max_grad_norm", "targets", "layers", "rank"}
    before |= {"alpha", "dropout", "kind"}
    assert set(LoraConfig().settings()) == before
    assert LoraConfig(recipe="paper", warmup=0.0, augment=()).settings() == LoraConfig().settings()
    assert LoraConfig(mixup=0.3).settings() == LoraConfig().settings() | {"mixup": 0.3}
    assert set(FullConfig(patience=2).settings()) - set(FullConfig().settings()) == {"patience"}


def test_a_preset_is_other_defaults():
    robust = LoraConfig(recipe="robust")
    assert robust.changed() == json.loads(json.dumps(LoraConfig(**PRESETS["robust"]).changed()))
    assert LoraConfig(recipe="robust", mixup=0.0, augment=["noise"]).mixup == 0
    assert LoraConfig(recipe="robust", mixup=0.0, augment=["noise"]).augment == ("noise",)
    ordered = ("rir", "noise", "specaugment")
    assert LoraConfig(augment=("specaugment", "rir", "noise")).augment == ordered == FullConfig(augment=ordered).augment
    assert LoraConfig(**robust.model_dump(mode="json")) == robust
    assert robust.words == "LoRA r=32 v_proj, robust" and PAPER.changed() == {}


def test_adalora_has_no_mean_of_epochs():
    with pytest.raises(ValueError, match="no mean"):
        AdaLoraConfig(average=3)


# Draws ----------------------------------------------------------------------------------------------------------------

EVERYTHING = Recipe(augment=("specaugment", "gain", "noise", "speed", "rir"), mixup=0.4)


def test_draws_depend_on_seed_clip_and_epoch_alone():
    data, again = drawn(EVERYTHING), drawn(EVERYTHING)
    for index in (5, 2, 5):
        one, same = data.in_epoch(index, 3), again.in_epoch(index, 3)
        assert all(np.array_equal(one[key], same[key]) for key in one)
    one = data.in_epoch(5, 3)["input_features"]
    assert not np.array_equal(one, data.in_epoch(5, 4)["input_features"])
    assert not np.array_equal(one, drawn(EVERYTHING, seed=2).in_epoch(5, 3)["input_features"])
    plain = Recipe(augment=("specaugment",))
    assert np.array_equal(
        drawn(plain).in_epoch(1, 0)["input_features"],
        drawn(plain, order=["c1", "c7"]).in_epoch(0, 0)["input_features"],
    )


def test_an_item_asked_for_without_an_epoch_is_as_it_is():
    _, clips, labels = clips_of(8)
    plain, data = ClipDataset(list(clips), labels, clips, "trim"), drawn(EVERYTHING)
    for index in range(8):
        assert np.array_equal(plain[index]["input_features"], data[index]["input_features"])


def test_the_number_of_processes_that_load_changes_no_batch():
    def batches(workers):
        data = drawn(Recipe(augment=("specaugment", "noise"), mixup=0.4))
        share = ShareOfBatches(LengthBatches(data.lengths, 3, 1))
        loader = ShareLoader(
            Weighted(data),
            batch_sampler=share,
            collate_fn=collate,
            num_workers=workers,
            # processes that live on have not been told of an epoch
            persistent_workers=workers > 0,
        )
        for epoch in (0, 1):
            loader.set_epoch(epoch)
            yield from loader

    seen = []
    for one, other in zip(batches(0), batches(2), strict=True):
        assert all(torch.equal(one[key], other[key]) for key in ("input_features", "labels", "valid", "weight"))
        seen.append(one["labels"])
    assert len(seen) > 4


def test_mixup_is_a_mean_of_two_clips_of_one_length_and_of_their_labels():
    _, clips, labels = clips_of(8)
    plain, data = ClipDataset(list(clips), labels, clips, "trim"), drawn(Recipe(mixup=0.3))
    mixed = 0
    for epoch in range(6):
        for index in range(8):
            item = data.in_epoch(index, epoch)
            shares = item["labels"]
            assert shares.sum() == pytest.approx(1) and shares[data.labels[index]] >= 0.5 - 1e-6
            own = plain[index]["input_features"]
            candidates = [
                (share * own + (1 - share) * plain[other]["input_features"], max(plain[index]["valid"], valid))
                for other in range(8)
                if data.lengths[other] == data.lengths[index]
                for valid, share in [(plain[other]["valid"], float(shares[data.labels[index]]))]
                if shares[data.labels[other]] == pytest.approx(1 - share) or data.labels[other] == data.labels[index]
            ]
            same_class = shares.max() == 1
            mixed += not same_class
            if not same_class:
                assert any(
                    np.allclose(found, item["input_features"], atol=1e-5) and valid == item["valid"]
                    for found, valid in candidates
                )
    assert mixed > 10


# The loss -------------------------------------------------------------------------------------------------------------


def test_smoothing_is_torchs_and_soft_labels_are_means_of_hard_ones():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 3, 1, 1, 2, 0])
    for smoothing in (0.0, 0.1, 0.5):
        wanted = nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        assert torch.allclose(Objective(smoothing)(logits, labels), wanted)
    hard = nn.functional.one_hot(labels, 4).double()
    mixed = 0.7 * hard + 0.3 * hard.flip(0)
    objective = Objective(0.1)
    wanted = 0.7 * objective(logits, labels) + 0.3 * objective(logits, labels.flip(0))
    assert torch.allclose(objective(logits, mixed), wanted)


def test_balanced_weights_are_sklearns_and_a_batch_is_the_mean_of_its_pieces():
    labels = [0, 0, 0, 1, 2, 2, 3, 3]
    weights = balanced_weights(labels, 4)
    assert weights == pytest.approx(compute_class_weight("balanced", classes=np.arange(4), y=np.array(labels)))
    assert np.mean([weights[label] for label in labels]) == pytest.approx(1)
    objective = Objective(0.1, weights)
    logits, gold = torch.randn(8, 4, dtype=torch.float64), torch.tensor(labels)
    halves = [objective(logits[part], gold[part]) for part in (slice(0, 4), slice(4, 8))]
    assert torch.allclose(objective(logits, gold), torch.stack(halves).mean())
    single = torch.stack([weights[y] * Objective(0.1)(x[None], y[None]) for x, y in zip(logits, gold, strict=True)])
    assert torch.allclose(objective(logits, gold), single.mean())


def test_objective_and_dropout_act_in_training_alone():
    model = WhisperClassifier(tiny_config()).eval()
    features, labels = mels(), torch.tensor([0, 1])
    plain = model(features, labels=labels)
    model.objective, model.head_dropout = Objective(0.3), 0.5
    assert torch.equal(model(features, labels=labels).loss, plain.loss)
    assert torch.equal(model(features).logits, plain.logits)
    model.train()
    torch.manual_seed(0)
    first = model(features, labels=labels)
    assert not torch.allclose(first.logits, plain.logits)
    assert torch.allclose(first.loss, Objective(0.3)(first.logits, labels))
    model.head_dropout = 0.0
    assert torch.allclose(model(features).logits, plain.logits, atol=1e-6)


# The head's start -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 4])
def test_a_head_starts_with_the_logits_of_the_logistic_regression(classes):
    random = np.random.default_rng(0)
    streams = random.standard_normal((60, 12)) * random.uniform(0.1, 9, 12) + random.uniform(-3, 3, 12)
    labels = np.arange(60) % classes
    fitted = fit_logistic(streams, labels, classes, 0.1)
    head = Head(12, 6, classes)
    initialise_head(head, 0)
    drawn_rows = head.projector.weight.detach().clone()
    set_head(head, *fitted.affine())
    with torch.no_grad():
        found = head(torch.as_tensor(streams, dtype=torch.float32)).logits.numpy()
    np.testing.assert_allclose(found, fitted.logits(streams), atol=1e-4)
    # what the start has no use for can still be trained
    rank = 1 if classes == 2 else 3
    assert torch.equal(head.projector.weight[rank:], drawn_rows[rank:]) and drawn_rows[rank:].any()
    assert not head.classifier.weight[:, rank:].any()
    with pytest.raises(LorascopeError, match=r"head\.projection"):
        set_head(Head(12, rank - 1, classes), *fitted.affine()) if rank > 1 else set_head(
            Head(12, 1, 4), *fit_logistic(streams, np.arange(60) % 4, 4, 0.1).affine()
        )


def test_before_its_first_step_a_cell_answers_as_the_frozen_logistic_head_does(setting, tmp_path):  # noqa: F811
    from lorascope.experiment.methods import FrozenConfig

    inputs, folds, fingerprint, _ = setting
    run = RunFolder(tmp_path)
    # a rate at which nothing moves
    still = LoraConfig(rank=2, epochs=1, learning_rate=1e-12, head_start="logistic")
    adapted = run_cell(make(folds[0], still), inputs(), run, fingerprint)
    frozen = run_cell(make(folds[0], FrozenConfig(head="logistic")), inputs(), run, fingerprint)
    assert adapted["loss"] == pytest.approx(frozen["loss"], abs=1e-4)
    assert adapted["confusion"] == frozen["confusion"]


# Optimiser and epochs -------------------------------------------------------------------------------------------------


def trained(setting, tmp_path, **changes):  # noqa: F811
    inputs, folds, _, load = setting
    shared, backbone = inputs(), load()
    initialise_head(backbone.model, 42)
    method = LoraConfig(**{"rank": 2, "alpha": 4, "epochs": 4, "dropout": 0.0, "learning_rate": 1e-2, **changes})
    model = adapt(backbone.model, method, 42)
    train, held_out = (
        ClipDataset(ids, shared.labels, shared.clips, "trim") for ids in (folds[0].train, folds[0].validation)
    )
    result = fit(
        model, train, held_out, 4, method, method.learning_rate[0], 42, "fp32", tmp_path / "t", tmp_path / "log"
    )
    return model, result, held_out


def test_the_head_has_its_own_rate(setting, tmp_path):  # noqa: F811
    start, *_ = trained(setting, tmp_path / "0", learning_rate=1e-12, epochs=1)
    model, *_ = trained(setting, tmp_path / "1", learning_rate=1e-12, epochs=1, head_learning_rate=1e-2)
    before = dict(start.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            of_head = "projector" in name or "classifier" in name
            assert torch.allclose(parameter, before[name], atol=1e-6) != of_head, name


def test_the_schedule_warms_up_and_falls_as_it_says(setting, tmp_path):  # noqa: F811
    _, result, _ = trained(setting, tmp_path, schedule="cosine", warmup=0.5)
    rates = [entry["learning_rate"] for entry in map(json.loads, (tmp_path / "log").open()) if "learning_rate" in entry]
    assert len(rates) == 4 == len(result.history)
    # half of the steps up, then half a cosine down
    assert rates[0] < rates[1] and rates[1] > rates[2] > rates[3]
    assert rates[1] == pytest.approx(1e-2, rel=0.2) and rates[3] < 1e-3


def test_the_mean_of_the_last_epochs_is_what_is_kept_and_judged(setting, tmp_path):  # noqa: F811
    _, _, held_out = plain = trained(setting, tmp_path / "plain", epochs=3)
    model, result, _ = trained(setting, tmp_path / "mean", epochs=3, average=2)
    from safetensors.torch import load_file

    files = sorted((tmp_path / "mean" / "t" / "last-epochs").iterdir())
    assert [file.name for file in files[-2:]] == ["epoch-2.safetensors", "epoch-3.safetensors"]
    one, other = map(load_file, files[-2:])
    parameters = dict(model.named_parameters())
    for name in one:
        assert torch.allclose(parameters[name], (one[name] + other[name]) / 2, atol=1e-7), name
    assert result.best_epoch == 3 and result.history == plain[1].history
    model.eval()
    with torch.no_grad():
        logits = torch.cat(
            [
                model(torch.as_tensor(item["input_features"])[None], valid=torch.tensor([item["valid"]])).logits
                for item in (held_out[index] for index in range(len(held_out)))
            ]
        )
    loss = float(nn.functional.cross_entropy(logits, torch.tensor(held_out.labels)))
    assert result.loss == pytest.approx(loss, abs=1e-4)


def test_patience_goes_by_epochs_that_count():
    def stops(scores, patience):
        for number in range(1, len(scores) + 1):
            control = TrainerControl()
            state = TrainerState(log_history=[{"eval_score": score} for score in scores[:number]])
            Patience(patience).on_evaluate(SimpleNamespace(), state, control)
            if control.should_training_stop:
                return number
        return None

    assert stops([0.5, 0.6, 0.5, 0.4, 0.9], 2) == 4
    assert stops([0.5, 0.6, 0.5, 0.7, 0.6], 2) is None
    assert stops([-1.5, -1.6, -1.7, 0.1, 0.0], 2) is None


def test_a_training_without_a_better_epoch_ends_early(setting, tmp_path):  # noqa: F811
    _, result, _ = trained(setting, tmp_path, learning_rate=1e-12, patience=1)
    assert len(result.history) < 4


def test_files_of_epochs_beyond_a_checkpoint_are_written_again(tmp_path):
    model = nn.Linear(2, 2)
    last = LastEpochs(2, tmp_path)
    for epoch in (1, 2, 3, 2):
        with torch.no_grad():
            model.weight.fill_(epoch)
        last.on_epoch_end(None, SimpleNamespace(epoch=epoch), None, model=model)
    last.put_mean(model)
    # what was written of epoch 3 by a run that was killed is gone
    assert sorted(file.name for file in tmp_path.iterdir()) == ["epoch-1.safetensors", "epoch-2.safetensors"]
    assert model.weight.unique().tolist() == [1.5]
    (tmp_path / "epoch-1.safetensors").unlink()
    with pytest.raises(LorascopeError, match="delete it and run again"):
        last.put_mean(model)
