"""AdaLoRA and PiSSA adapters made elsewhere, told as plain LoRA: PEFT's own forward gives the same logits."""

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model

from lorascope.errors import LorascopeError
from lorascope.models.adapters.conversion import principal
from lorascope.models.adapters.folder import load_adapter
from lorascope.models.weights.backbone import load_backbone

from ...tiny import mels, tiny_whisper

HEAD = ["projector", "classifier"]


@pytest.fixture
def backbone(tmp_path):
    tiny_whisper().save_pretrained(tmp_path / "backbone")
    return load_backbone(str(tmp_path / "backbone"))


def stirred(config):
    """An adapter with noise on all that it trains, as PEFT saves it."""
    torch.manual_seed(5)
    peft = get_peft_model(tiny_whisper(), config)
    with torch.no_grad():
        for parameter in peft.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return peft


def same_logits(backbone, folder):
    theirs = PeftModel.from_pretrained(tiny_whisper(), str(folder)).eval()
    ours = load_adapter(backbone, folder)
    features = mels(frames=1500)
    with torch.no_grad():
        expected, bare = theirs(features).logits, tiny_whisper()(features).logits
        assert torch.allclose(ours(features).logits, expected, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(bare, expected, atol=1e-2)
        with ours.disable_adapter():
            encoded = ours.get_base_model().encoder(features).last_hidden_state
        # the frozen weights are the original ones
        assert torch.equal(encoded, tiny_whisper().encoder(features).last_hidden_state)
    return ours


@pytest.mark.parametrize("pruned", [False, True])
def test_adalora_is_plain_lora_with_a_rank_for_each_layer(backbone, tmp_path, pruned):
    config = AdaLoraConfig(
        init_r=6, target_r=4, lora_alpha=20, total_step=9, target_modules=["q_proj", "fc2"], modules_to_save=HEAD
    )
    peft = stirred(config)
    pattern, ranks = {}, {}
    for number, (name, values) in enumerate(
        (n, p) for n, p in peft.base_model.model.named_parameters() if "lora_E" in n
    ):
        keep = torch.arange(6) < number + 1 if number else torch.zeros(6, dtype=torch.bool)
        with torch.no_grad():
            values.masked_fill_(~keep[:, None], 0.0)
        pattern[name] = keep.tolist()
        ranks[name.split(".lora_E")[0]] = int(keep.sum())
    if pruned:
        # as PEFT saves what its own allocator has pruned
        peft.peft_config["default"].rank_pattern = pattern
    peft.save_pretrained(tmp_path / "adapter")
    ours = same_logits(backbone, tmp_path / "adapter")
    found = {n.split(".lora_A")[0]: len(p) for n, p in ours.base_model.model.named_parameters() if "lora_A" in n}
    assert found == {name: rank for name, rank in ranks.items() if rank}
    assert len(found) == 5


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"rank_pattern": {"layers.1.self_attn.v_proj": 2}}])
def test_pissa_is_plain_lora_of_twice_the_rank_on_the_original_weight(backbone, tmp_path, settings):
    config = LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=["v_proj", "fc1"],
        init_lora_weights="pissa",
        modules_to_save=HEAD,
        alpha_pattern={"fc1": 3},
        **settings,
    )
    peft = stirred(config)
    peft.save_pretrained(tmp_path / "adapter")
    ours = same_logits(backbone, tmp_path / "adapter")
    ranks = {name: len(p) for name, p in ours.named_parameters() if "lora_A" in name}
    assert all(
        rank == (4 if "layers.1.self_attn.v" in name and "rank_pattern" in settings else 8)
        for name, rank in ranks.items()
    )


def test_pissas_start_is_the_best_approximation_of_the_weight():
    weight = torch.randn(12, 9, generator=torch.Generator().manual_seed(0))
    a, b = principal(weight, 3, 0.5)
    left, values, right = torch.linalg.svd(weight.double())
    best = (left[:, :3] * values[:3]) @ right[:3]
    assert torch.allclose(0.5 * (b @ a).double(), best, atol=1e-5)


def test_a_randomised_start_is_refused(backbone, tmp_path):
    config = LoraConfig(r=4, target_modules=["v_proj"], init_lora_weights="pissa_niter_4", modules_to_save=HEAD)
    stirred(config).save_pretrained(tmp_path / "adapter")
    with pytest.raises(LorascopeError, match=r"randomised decomposition .* save it with PEFT's path_initial_model"):
        load_adapter(backbone, tmp_path / "adapter")
