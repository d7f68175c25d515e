"""AdaLoRA's budget during training: after every step the least important directions are zeroed, until the final rank is
reached.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..errors import LorascopeError

STATE = "rank_allocator.pt"


class RankAllocation(TrainerCallback):
    """Runs PEFT's rank allocator beside Trainer (Zhang et al. 2023, algorithm 1), and resumes with it.

    The budget stays at the initial rank for the first tenth of all steps, falls until half of them are done, and then
    holds, so that what is trained in the second half has the final rank: `settled` says whether that is so. PEFT's own
    `update_and_allocate` is not called, since it notes the pattern of kept directions in the adapter's configuration,
    after which a checkpoint of another step doesn't load any more.
    """

    def __init__(self, peft: Any) -> None:
        self.tuner = peft.base_model
        self.allocator = self.tuner.rankallocator
        self.pattern: dict[str, list[bool]] | None = None
        self.settled = False

    @property
    def _end(self) -> int:
        schedule = self.allocator.peft_config
        return schedule.total_step - schedule.tfinal

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Set the schedule for the number of steps; take up the averages of an interrupted run."""
        schedule = self.allocator.peft_config
        schedule.total_step = state.max_steps
        schedule.tfinal = state.max_steps // 2
        schedule.tinit = state.max_steps // 10
        schedule.deltaT = max(1, state.max_steps // 100)
        if state.global_step:
            self._resume(Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}" / STATE)
            self.settled = state.global_step >= self._end

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Update the importances and zero what is beyond the budget, while the gradients are still there."""
        step, model = state.global_step + 1, self.tuner.model
        if step > self._end and self.pattern is not None:
            self.allocator.mask_using_rank_pattern(model, self.pattern)
            return
        # a step that mixed precision skipped has no gradients to go by
        if all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None):
            self.allocator.update_ipt(model)
        budget, due = self.allocator.budget_schedule(step)
        if (due or step == self._end) and self.allocator.ipt:
            self.pattern = self.allocator.mask_to_budget(model, budget)
        self.settled = step >= self._end and self.pattern is not None

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the averages beside the checkpoint."""
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        averages = {"importance": self.allocator.exp_avg_ipt, "uncertainty": self.allocator.exp_avg_unc}
        torch.save({**averages, "pattern": self.pattern}, folder / STATE)

    def _resume(self, file: Path) -> None:
        if not file.is_file():
            raise LorascopeError(
                f"{file}: no such file, so AdaLoRA cannot continue; delete {file.parent} and run again"
            )
        kept = torch.load(file, weights_only=True)
        device = next(self.tuner.model.parameters()).device
        importance, uncertainty = (
            {name: tensor.to(device) for name, tensor in kept[key].items()} for key in ("importance", "uncertainty")
        )
        self.allocator.exp_avg_ipt, self.allocator.exp_avg_unc = importance, uncertainty
        self.allocator.ipt = {name: torch.zeros_like(tensor) for name, tensor in importance.items()}
        self.pattern = kept["pattern"]
