"""The reward model: values, checkpoint formats, frozen parts."""

import json
import zipfile

import pytest
import torch
from safetensors.torch import load_file
from tiny import gpt2_config, gptj_config, make_model_dir, make_tokenizer
from transformers import AutoModelForCausalLM, GPTJForCausalLM, GPTNeoXConfig, LlamaConfig

from reward_model.reward_model import RewardModel
from summarize_rlhf import UserError
from summarize_rlhf.lm.weights import load_causal_lm

V = len(make_tokenizer())
SMALL = {
    "vocab_size": V,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
}
CONFIGS = {
    "gptj": lambda layers=4: gptj_config(V, layers),
    "gpt2": lambda layers=4: gpt2_config(V, layers),
    "neox": lambda layers=4: GPTNeoXConfig(**SMALL, num_hidden_layers=layers),
    "llama": lambda layers=4: LlamaConfig(**SMALL, num_hidden_layers=layers, num_key_value_heads=2),
}


@pytest.fixture(scope="module", params=CONFIGS)
def any_dir(request, tmp_path_factory):
    return make_model_dir(tmp_path_factory.mktemp(request.param), CONFIGS[request.param]())


@pytest.fixture
def published(gptj_dir, tmp_path):
    """What the published `pytorch_model.bin` holds, for a small GPT-J: all its keys, and the old mask buffers."""
    language_model = GPTJForCausalLM.from_pretrained(gptj_dir)
    state = {f"transformer.{key}": tensor.clone() for key, tensor in language_model.transformer.state_dict().items()}
    state["v_head.weight"] = torch.randn(1, 32)
    for block in range(2):
        mask = torch.ones(256, 256, dtype=torch.uint8).tril()
        state[f"transformer.h.{block}.attn.bias"] = mask.view(1, 1, 256, 256)
        state[f"transformer.h.{block}.attn.masked_bias"] = torch.tensor(-1e9)
    file = tmp_path / "rm_checkpoint" / "pytorch_model.bin"
    file.parent.mkdir()
    torch.save(state, file)
    return file


def test_values_are_a_head_on_the_language_models_hidden_states(any_dir):
    model = RewardModel.from_causal_lm(any_dir).eval()
    ids = torch.randint(1, V, (2, 9))
    hidden = AutoModelForCausalLM.from_pretrained(any_dir)(ids, output_hidden_states=True).hidden_states[-1]
    expected = (hidden * model.v_head.weight).sum(-1)
    torch.testing.assert_close(model(ids), expected, rtol=1e-5, atol=1e-5)
    assert model(ids).shape == (2, 9)


def test_values_do_not_depend_on_padding_or_partner(any_dir):
    """Fails if the padding were on the left, or if attention looked ahead."""
    model = RewardModel.from_causal_lm(any_dir).eval()
    text = torch.randint(1, V, (1, 7))
    alone = model(text)
    for width, partner in ((7, 1), (12, 1), (40, 3)):
        ids = torch.randint(1, V, (partner + 1, width))
        mask = torch.ones_like(ids)
        ids[0, :7], ids[0, 7:], mask[0, 7:] = text, 0, 0
        torch.testing.assert_close(model(ids, mask)[:1, :7], alone, rtol=1e-5, atol=1e-6)


def test_save_and_load_give_the_same_values_in_exactly_these_files(any_dir, tmp_path):
    model = RewardModel.from_causal_lm(any_dir).eval()
    model.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    keys = load_file(tmp_path / "model.safetensors").keys()
    assert "v_head.weight" in keys
    assert all(key == "v_head.weight" or key.startswith("transformer.") for key in keys)
    ids = torch.randint(1, V, (2, 9))
    assert torch.equal(RewardModel.from_pretrained(tmp_path)(ids), model(ids))


def test_a_reward_model_is_no_language_model(any_dir, tmp_path):
    RewardModel.from_causal_lm(any_dir).save(tmp_path)
    with pytest.raises(UserError, match=r"not part of the model: .*(transformer|v_head)"):
        load_causal_lm(tmp_path)
    with pytest.raises(UserError, match=r"missing: .*(transformer|v_head)"):
        RewardModel.from_pretrained(any_dir)


def test_half_precision_is_kept_and_values_are_fp32(gptj_dir, tmp_path):
    model = RewardModel.from_causal_lm(gptj_dir).to(torch.bfloat16)  # as DeepSpeed does
    model.save(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    loaded = RewardModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.transformer.parameters()} == {torch.bfloat16}
    assert loaded.v_head.weight.dtype == torch.float32
    assert loaded(torch.ones(1, 3, dtype=torch.long)).dtype == torch.float32
    assert RewardModel.from_pretrained(tmp_path).v_head.weight.dtype == torch.float32


@pytest.mark.parametrize("as_directory", [False, True])
def test_the_published_format_loads(published, gptj_dir, as_directory):
    path = published.parent if as_directory else published
    model = RewardModel.from_pretrained(path, config_from=gptj_dir)
    state = torch.load(published, weights_only=True)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    ids = torch.randint(1, V, (2, 9))
    hidden = GPTJForCausalLM.from_pretrained(gptj_dir).transformer(ids).last_hidden_state
    torch.testing.assert_close(model(ids), (hidden @ state["v_head.weight"].T)[..., 0], rtol=1e-5, atol=1e-5)


def test_the_published_format_needs_a_config(published):
    with pytest.raises(UserError, match=r"no config\.json.*SFT directory"):
        RewardModel.from_pretrained(published)


def damage(file, change):
    state = torch.load(file, weights_only=True)
    change(state)
    torch.save(state, file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("v_head.weight"), r"1 missing: v_head\.weight"),
        (lambda s: s.pop("transformer.h.1.attn.q_proj.weight"), r"1 missing: transformer\.h\.1\.attn\.q_proj\.weight"),
        (lambda s: s.update({"lm_head.weight": torch.ones(V, 32)}), r"1 not part of the model: lm_head\.weight"),
        (lambda s: s.update({"transformer.h.0.attn.mask": torch.ones(1)}), r"not part.*transformer\.h\.0\.attn\.mask"),
        (lambda s: s.update({"v_head.bias": torch.ones(1)}), r"not part of the model: v_head\.bias"),
        (lambda s: s.update({"v_head.weight": torch.ones(1, 48)}), r"v_head\.weight \(1, 48\), expected \(1, 32\)"),
    ],
)
def test_missing_and_foreign_keys_are_refused_by_name(published, gptj_dir, change, message):
    damage(published, change)
    with pytest.raises(UserError, match=message):
        RewardModel.from_pretrained(published, config_from=gptj_dir)


def test_damaged_files_are_refused(published, gptj_dir, tmp_path):
    content = published.read_bytes()
    published.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"cannot read the weights .*pytorch_model\.bin"):
        RewardModel.from_pretrained(published, config_from=gptj_dir)
    ours = tmp_path / "ours"
    ours.mkdir()
    RewardModel.from_causal_lm(gptj_dir).save(ours)
    content = (ours / "model.safetensors").read_bytes()
    (ours / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"cannot read the weights .*model\.safetensors"):
        RewardModel.from_pretrained(ours)


def test_no_code_in_a_checkpoint_is_run(published, gptj_dir, tmp_path):
    """Fails with `weights_only=False`: the pickle would create a file."""

    class Payload:
        def __reduce__(self):
            return open, (str(tmp_path / "was_here"), "w")

    torch.save({"v_head.weight": Payload()}, published)
    assert zipfile.is_zipfile(published)
    with pytest.raises(UserError, match="it is damaged, or a pickle that holds more than tensors"):
        RewardModel.from_pretrained(published, config_from=gptj_dir)
    assert not (tmp_path / "was_here").exists()


def test_nothing_there_says_where_one_comes_from(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(
            UserError, match=r"no reward model at .*train_reward_model_gptj\.py.*reward_model\.download"
        ):
            RewardModel.from_pretrained(path)


def trained(model: RewardModel) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("fraction", "layers", "blocks"), [(0.3, 4, 1), (0.5, 4, 2), (0.3, 10, 3), (0.3, 28, 8), (0.01, 4, 1)]
)
def test_the_top_blocks_final_norm_and_head_are_trained(fraction, layers, blocks, tmp_path):
    """28 blocks are GPT-J's: 8 of them trained, as published. Fails if bottom blocks or embeddings were trained."""
    model = RewardModel.from_causal_lm(make_model_dir(tmp_path, CONFIGS["gptj"](layers)))
    model.freeze(fraction)
    parts = {".".join(name.split(".")[:3]) if ".h." in name else name for name in trained(model)}
    expected = {f"transformer.h.{block}" for block in range(layers - blocks, layers)}
    assert parts == {*expected, "transformer.ln_f.weight", "transformer.ln_f.bias", "v_head.weight"}


def test_every_familys_embeddings_and_lower_blocks_are_frozen(any_dir):
    model = RewardModel.from_causal_lm(any_dir)
    everything = trained(model)
    model.freeze(0.5)
    frozen = everything - trained(model)
    lower, upper = ({name for name in everything if f".{a}." in name or f".{b}." in name} for a, b in ((0, 1), (2, 3)))
    embeddings = {name for name in frozen if "embed" in name or "wte" in name or "wpe" in name}
    assert embeddings
    assert frozen == embeddings | lower
    assert upper <= trained(model)


def test_the_backward_pass_ends_at_the_lowest_trained_block(gptj_dir):
    model = RewardModel.from_causal_lm(gptj_dir)
    model.freeze(0.5)
    seen = []
    for number, block in enumerate(model.transformer.h):
        block.register_forward_hook(
            lambda _module, _in, out, number=number: seen.append((number, out[0].requires_grad))
        )
    model(torch.ones(1, 3, dtype=torch.long)).sum().backward()
    assert seen == [(0, False), (1, True)]


def test_all_or_a_share_is_trained_nothing_else(gptj_dir):
    model = RewardModel.from_causal_lm(gptj_dir)
    model.freeze(1.0)
    assert len(trained(model)) == len(list(model.parameters()))
    for fraction in (0.0, -0.5, 1.5):
        with pytest.raises(UserError, match="trainable_fraction"):
            model.freeze(fraction)


def test_the_config_says_what_the_weights_are(gptj_dir, tmp_path):
    RewardModel.from_causal_lm(gptj_dir).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "gptj"
    assert config["dtype"] == "float32"
