"""Readings of what was done to the model, and of what it holds: dials, ranks, patching, weights, probes, frames,
heads.
"""

from __future__ import annotations

import pandas as pd

from ...findings import recurrence
from ...store.finished import FinishedRun, records
from ..figures.probes import WORDS
from .words import at, capital, signed

# what is said of the start of adapters that don't share it
_STARTS = {
    recurrence.OWN: ", each with a start of its own",
    recurrence.NONE: "",
    recurrence.UNKNOWN: ", which may have begun alike",
}


def dial_reading(folder: FinishedRun) -> list[str]:
    """Figure 5: what the answer needs."""
    table, depths = folder.table("dial"), folder.table("dial_depth")
    if table is None:
        return []
    on, off = (_of(table, dial="whole", alpha=alpha)[0] for alpha in (1.0, 0.0))
    sentences = [
        f"The whole adapter: UAR {_interval(on, 'uar')}; turned off, with its own head: {_interval(off, 'uar')} "
        "(not the frozen baseline, whose head was trained on the frozen encoder)."
    ]
    gone = pd.DataFrame(_of(table, dial="block", alpha=0.0))
    needed = gone[gone["delta_uar_high"] < 0]
    if needed.empty:
        sentences.append("No single block's part is clearly needed: with any one off, UAR falls by no clear amount.")
    else:
        worst = records(needed.loc[[needed["delta_uar"].idxmin()]])[0]
        sentences.append(
            f"Turning off one block lowers UAR clearly at {at(needed['at'])}, most at layer {worst['at']} "
            f"({signed(worst, 'delta_uar')})."
        )
    alone = pd.DataFrame(_of(table, dial="alone"))
    enough = alone[alone["delta_uar_high"] >= 0]
    if len(enough):
        sentences.append(f"Alone on, the block is not clearly worse than all at {at(enough['at'])}.")
    else:
        sentences.append("No block is enough alone: each is clearly worse than all of them.")
    for row in records(depths) if depths is not None else []:
        if row["quantity"] == "uar" and row["blocks"] == row["blocks"]:
            sentences.append(
                f"Half of the gain in UAR is there with the {row['from']} {row['blocks']:.1f} blocks on "
                f"[{row['blocks_low']:.1f}, {row['blocks_high']:.1f}]."
            )
    modules = pd.DataFrame(_of(table, dial="module"))
    if len(modules):
        hurt = modules[modules["delta_uar_high"] < 0]
        names = ", ".join(f"{row['module']} ({signed(row, 'delta_uar')})" for row in records(hurt)) or "none"
        sentences.append(f"Kinds of module whose loss lowers UAR clearly: {names}.")
    return sentences


def rank_dial_reading(folder: FinishedRun) -> list[str]:
    """Figure 6: how few directions are as good."""
    least = folder.table("rank_dial_least")
    words = {"global": "those with the largest σ of all matrices", "local": "each matrix' own largest"}
    sentences = []
    for row in records(least) if least is not None else []:
        if row["share"] != row["share"]:
            return [f"{capital(str(row['note']))}."]
        text = f"Of {row['of']:.0f} directions, {row['directions']:.0f} ({words[row['way']]}; "
        text += f"{row['share']:.0%} of the rank) "
        text += f"answer as well as all: UAR changes by {signed(row, 'delta_uar')}."
        if row["draws"]:
            text += f" Of {row['draws']:.0f} random draws of as many, {row['random_as_good']:.0f} "
            text += f"{'is' if row['random_as_good'] == 1 else 'are'} as good (mean UAR {row['random_uar']:.2f})."
        sentences.append(text + (f" {capital(row['note'])}." if row["note"] else ""))
    return sentences


def patching_reading(folder: FinishedRun) -> list[str]:
    """Figure 7: where the difference enters."""
    table = folder.table("patching")
    if table is None:
        return []
    sentences = []
    for receiver, words in (("adapted", "Frozen into adapted"), ("frozen", "Adapted into frozen")):
        rows = table[table["receiver"] == receiver]
        if rows.empty:
            continue
        if rows["share"].isna().all():
            sentences.append(f"{words}: {rows['note'].iloc[0]}.")
            continue
        stream = rows[rows["part"] == "resid_pre"].sort_values("layer")
        half = stream[stream["share_low"] > 0.5]
        sentences.append(
            f"{words}: the stream carries clearly more than half of the difference in margin "
            f"({rows['total'].iloc[0]:+.2f} logits) from depth {int(half['layer'].min())} on.".replace("-", "−")
        )
        parts = rows[(rows["part"] != "resid_pre") & (rows["share_low"] > 0)]
        best = records(parts.loc[[parts["share"].idxmax()]]) if len(parts) else []
        for row in best:
            name = {"attn_out": "attention", "mlp_out": "MLP"}[row["part"]]
            sentences.append(
                f"{words}: of single parts, the {name} of block {row['layer']} carries most, {_interval(row, 'share')}."
            )
    return sentences


def full_rank(weights: pd.DataFrame) -> str:
    """Of how many directions an update could be: the nominal rank, or without factors the matrix' shorter side."""
    nominal = weights["nominal_rank"].max()
    return f"{weights[['width_out', 'width_in']].min(axis=1).max() if pd.isna(nominal) else nominal:.0f}"


def weights_reading(folder: FinishedRun) -> list[str]:
    """Figure 8: size, rank and place of the update."""
    table = folder.table("weights")
    if table is None:
        return []
    sentences = []
    for module, rows in table.groupby("module", sort=False):
        known = rows[rows["rank"] > 0]
        if known.empty:
            sentences.append(f"{module}: ΔW is 0.")
            continue
        text = (
            f"{module}: |ΔW|/|W| from {known['relative_norm'].min():.3f} to {known['relative_norm'].max():.3f}; "
            f"entropy rank {known['entropy_rank'].min():.1f} to {known['entropy_rank'].max():.1f} "
            f"of {full_rank(known)}."
        )
        inside = known[known["left_share"] > known["left_null_high"]]
        text += f" Its columns lie in W's leading subspace more than random ones do at {at(inside['layer'])}."
        text += f" Intruders (ε .5): {known['intruders'].sum():.0f} over all layers, "
        text += f"random {known['intruders_null'].sum():.1f}."
        sentences.append(text)
    return [*sentences, "None of these has an interval: a matrix is no sample. Other folds and seeds say what varies."]


def learnt_again_reading(folder: FinishedRun) -> list[str]:
    """Figure 8, of several adapters: whether others learn the same input directions, by kind of module."""
    table = folder.table("recurrence")
    rows = None if table is None else recurrence.learnt_again(table, folder.shown[0].name)
    if table is None or rows is None or rows.empty:
        return []
    chance = recurrence.by_chance(table, folder.shown[0].name)
    differ, start, pairs = rows["differ"].iloc[0], rows["start"].iloc[0], int(rows["pairs"].max())
    told = f"{pairs} pair{'s' if pairs > 1 else ''} of adapters of other {differ}"
    if start == recurrence.SHARED:
        return [
            f"Learnt again? The {told} began with the same A, which alone makes their directions alike (mean cos² of "
            f"the first {recurrence.LEADING} up to {rows['mean_cos2'].max():.2f}), so these can't tell: `seeds` (a "
            "list) gives every fold a start of its own."
        ]
    sentences = []
    for module, own in rows.groupby("module", sort=False):
        top = records(own.loc[[own["mean_cos2"].idxmax()]])[0]
        everywhere = own[own["above"] == 1]
        text = f"Learnt again, {module}: of the {told}{_STARTS[start]}, the first {recurrence.LEADING} input "
        text += f"directions have a mean cos² of up to {top['mean_cos2']:.2f} (layer {top['layer']}; random subspaces "
        text += f"{top['null']:.2f}), in every pair more than random ones at {at(everywhere['layer'])}."
        against = chance[(chance["module"] == module) & (chance["layer"] == top["layer"])]
        if len(against):
            text += f" Against adapters trained on shuffled labels it is {against['mean_cos2'].iloc[0]:.2f} there."
        sentences.append(text)
    return sentences


def probes_reading(folder: FinishedRun) -> list[str]:
    """Figure 9: what the adapter made easier to read, and what harder."""
    table = folder.table("probes")
    if table is None:
        return []
    sentences = []
    top = table[table["depth"] == table["depth"].max()]
    for target in (name for name in WORDS if name in set(table["target"])):
        rows = {row["model"]: row for row in records(top[top["target"] == target])}
        if "difference" not in rows:
            continue
        change, trained, frozen = rows["difference"], rows["trained"], rows["frozen"]
        verdict = "no clear change" if change["score_low"] <= 0 <= change["score_high"] else signed(change, "score")
        metric = "UAR" if trained["metric"] == "uar" else "R²"
        text = f"{capital(WORDS[target])} at the top, {metric}: frozen {frozen['score']:.2f}, "
        text += (
            f"trained {trained['score']:.2f} (control {trained['control_task']:.2f})".replace("-", "−")
            + f": {verdict}."
        )
        sentences.append(text)
    reasons = folder.table("probe_reasons")
    for row in records(reasons) if reasons is not None else []:
        sentences.append(f"{capital(WORDS[row['target']])} was not probed: {row['reason']}.")
    return sentences


def frames_reading(folder: FinishedRun) -> list[str]:
    """Figure 10: whether some part of a clip decides."""
    profile, focus = folder.table("frame_profile"), folder.table("frame_focus")
    if profile is None or focus is None:
        return []
    sentences = []
    for model in (name for name in ("trained", "frozen") if name in set(profile["model"])):
        rows = profile[(profile["model"] == model) & (profile["depth"] == profile["depth"].max())]
        more, less = rows[rows["share_low"] > rows["null_high"]], rows[rows["share_high"] < rows["null_low"]]
        tenths = [", ".join(str(int(number) + 1) for number in part["bin"]) or "none" for part in (more, less)]
        half = records(focus[(focus["model"] == model) & (focus["depth"] == focus["depth"].max())])[0]
        sentences.append(
            f"{capital(model)}: tenths of a clip that give clearly more than shuffled frames would: {tenths[0]}; "
            f"less: {tenths[1]}. Half of what frames give comes from {_interval(half, 'focus')} of them "
            "(.5: all alike)."
        )
    return sentences


def heads_reading(folder: FinishedRun) -> list[str]:
    """Figure 11: which heads speak directly for the gold class."""
    table = folder.table("heads")
    if table is None:
        return []
    sentences = []
    for model in ("trained", "frozen", "difference"):
        rows = table[(table["model"] == model) & table["gold"].notna()]
        if rows.empty:
            continue
        clear = rows[(rows["gold_low"] > rows["null_high"]) | (rows["gold_high"] < rows["null_low"])]
        text = f"{capital(model)}: {len(clear)} of {len(rows)} heads give the gold class clearly more or less than "
        text += "shuffled labels"
        if len(clear):
            best = records(clear.loc[[clear["gold"].abs().idxmax()]])[0]
            text += f"; most, head {best['head']} of block {best['layer']} ({signed(best, 'gold')} logits)"
        sentences.append(f"{text}.")
    return sentences or [f"{capital(str(table['note'].iloc[0]))}: norms alone are shown."]


def _of(table: pd.DataFrame, **wanted: object) -> list[dict]:
    for column, value in wanted.items():
        table = table[table[column] == value]
    return records(table)


def _interval(row: dict, name: str) -> str:
    return f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]".replace("-", "−")
