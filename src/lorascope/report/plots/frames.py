"""Figure 10 on the page: where in time the answer comes from, at every depth."""

from __future__ import annotations

from collections.abc import Mapping

from ...store.finished import FinishedRun
from .spec import DEPTH, MODELS, Axis, Facet, Level, Panel, Plot, View, band, curve, where

MODELS_SHOWN = ("trained", "frozen")


def plot(folder: FinishedRun) -> Plot | None:
    """Figure 10 for each depth; None where frames were not looked at."""
    profile, focus = folder.table("frame_profile"), folder.table("frame_focus")
    if profile is None or focus is None:
        return None
    depths = sorted(profile["depth"].unique(), reverse=True)
    models = [model for model in MODELS_SHOWN if model in set(profile["model"])]

    def view(choice: Mapping[str, str]) -> View:
        panels = []
        for model in models:
            rows = where(profile, model=model, depth=int(choice["depth"]))
            lines = curve(rows, "share", model, MODELS[model], over="bin")
            null = band(rows, "null_low", "null_high", "frames shuffled", "muted", over="bin")
            axis = Axis("share of the margin (logits)")
            panels.append(Panel(model, Axis("tenth of the clip"), axis, lines, null, (Level(0.0),)))
        lines = tuple(
            line
            for model in models
            for line in curve(
                where(focus, model=model).rename(columns={"depth": "layer"}), "focus", model, MODELS[model]
            )
        )
        axis = Axis("share of frames that make half", low=0, high=0.52)
        return [[*panels, Panel("how many frames decide", DEPTH, axis, lines)]]

    return Plot("fig10", view, (Facet("depth", "Depth", {str(depth): str(depth) for depth in depths}),))
