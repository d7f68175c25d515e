"""Epoch, learning rate and C chosen by inner folds: means over them, then one training on all training speakers."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lorascope.corpora import make_folds
from lorascope.experiment.loading import experiment_from
from lorascope.experiment.methods import AdaLoraConfig, FrozenConfig, LoraConfig
from lorascope.experiment.planning import plan
from lorascope.experiment.show import print_plan
from lorascope.store.folder import RunFolder
from lorascope.training.fit import Fit
from lorascope.training.heads import choose_by_inner_folds, masks_of
from lorascope.training.inner_folds import mean_fit
from lorascope.work.kinds.cell import run_cell

from ..conftest import settings_of
from .test_cell import make, setting  # noqa: F401


def fit_of(uars, losses, rate=1e-3):
    scores = enumerate(zip(uars, losses, strict=True), 1)
    history = [{"epoch": float(number), "uar": uar, "war": uar, "loss": loss} for number, (uar, loss) in scores]
    return Fit(rate, 1, uars[0], uars[0], losses[0], history, 10)


def test_the_best_epoch_is_that_of_the_mean():
    fits = [fit_of([0.9, 0.5, 0.7], [1, 1, 1]), fit_of([0.1, 0.6, 0.5], [1, 1, 1])]
    found = mean_fit(LoraConfig(epochs=3), fits)
    assert (found.best_epoch, found.uar) == (3, pytest.approx(0.6))
    # ties go to the lower loss, and only epochs that all reached count
    fits = [fit_of([0.5, 0.5, 0.9], [1, 0.8, 1]), fit_of([0.5, 0.5], [1, 0.9])]
    assert mean_fit(LoraConfig(epochs=3), fits).best_epoch == 2
    early = [fit_of([0.9, 0.9, 0.5, 0.6], [1] * 4)]
    assert mean_fit(AdaLoraConfig(epochs=4), early).best_epoch == 2
    assert mean_fit(AdaLoraConfig(epochs=5), [fit_of([0.9, 0.9, 0.5, 0.6, 0.1], [1] * 5)]).best_epoch == 4


@pytest.fixture(scope="module")
def inner(corpus):
    from lorascope.corpora import load_corpus

    return make_folds(load_corpus("csv", corpus), selection="inner_folds", inner=2)[0]


@pytest.mark.parametrize(
    "method",
    [
        LoraConfig(rank=2, alpha=4, epochs=3, learning_rate=(1e-12, 2e-2), dropout=0.0, head_start="logistic"),
        FrozenConfig(epochs=3, learning_rate=(1e-12, 2e-2)),
    ],
)
def test_the_chosen_rate_is_trained_once_more_on_all(setting, tmp_path, inner, method):  # noqa: F811
    inputs, _, fingerprint, _ = setting
    run = RunFolder(tmp_path)
    said = []
    metrics = run_cell(make(inner, method), inputs(), run, fingerprint, said.append)
    told = [line.split("learning rate ")[1] for line in said if "learning rate" in line and "warning" not in line]
    epochs = metrics["chosen"]["best_epoch"]
    assert told == [
        *(f"{rate}, inner fold {number} of 2" for rate in ("1e-12", "0.02") for number in (1, 2)),
        f"{metrics['chosen']['learning_rate']:g}, all for {epochs} epochs",
    ]
    scores = [(c["validation_uar"], -c["validation_loss"]) for c in metrics["candidates"]]
    assert metrics["chosen"] == metrics["candidates"][scores.index(max(scores))] | {"epochs": 3, "batch_size": 8}
    assert metrics["validation"]["uar"] == metrics["chosen"]["validation_uar"]
    assert metrics["clips"]["validation"] == 0 and metrics["optimistic"] == []
    lines = [json.loads(line) for line in (run.cell(metrics["hash"]) / "train.log").read_text().splitlines()]
    losses = [line for line in lines if "loss" in line]
    assert len(losses) == 4 * 3 + epochs


def test_shallow_heads_choose_by_means_over_inner_folds_and_fit_all():
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    streams = (random.standard_normal((60, 2, 6)) + labels[:, None, None] * np.array([0.2, 0.9])[None, :, None]) * 3
    ids = [f"c{number}" for number in range(60)]
    masks = masks_of(ids, [ids[:30], ids[30:]])
    assert [int(mask.sum()) for mask in masks] == [30, 30] and not (masks[0] & masks[1]).any()
    choice = choose_by_inner_folds(FrozenConfig(head="best_layer", C=(0.001, 1.0)), (streams, labels), masks, 3)
    from lorascope.statistics.shallow import fit_logistic
    from lorascope.statistics.stats import unweighted_average_recall

    means = {}
    for depth in (0, 1):
        for C in (0.001, 1.0):
            own = []
            for out in masks:
                fitted = fit_logistic(streams[~out][:, depth], labels[~out], 3, C)
                own.append(unweighted_average_recall(labels[out], fitted.logits(streams[out][:, depth]).argmax(1), 3))
            means[depth, C] = np.mean(own)
    assert {(c["depth"], c["C"]): c["validation_uar"] for c in choice.candidates} == pytest.approx(means)
    chosen = choice.candidates[choice.chosen]
    assert means[chosen["depth"], chosen["C"]] == max(means.values()) == choice.validation["uar"]
    whole = fit_logistic(streams[:, chosen["depth"]], labels, 3, chosen["C"])
    np.testing.assert_allclose(choice.head.weight, whole.weight)


def test_other_inner_folds_are_other_cells_and_the_plan_tells_of_them(corpus, backbone_folder, monkeypatch, capsys):
    def cells(**folds):
        return plan(experiment_from(settings_of(corpus, backbone_folder, folds={"only": ["ann"], **folds})))

    one = cells(selection="inner_folds", inner=2)[0]
    assert one.fold.inner and one.settings["inner"] == one.fold.inner
    other = replace(one, fold=replace(one.fold, inner=one.fold.inner[::-1]))
    assert len({one.key, other.key, cells(selection="inner_folds", inner=3)[0].key}) == 3
    assert "inner" not in cells()[0].settings
    from lorascope.experiment.planning import describe

    print_plan(
        describe(experiment_from(settings_of(corpus, backbone_folder, folds={"selection": "inner_folds", "inner": 2})))
    )
    assert "inner folds" in capsys.readouterr().out
