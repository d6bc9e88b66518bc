"""Other people's models: the published one never stands in for one's own unsaid, and no taste of a checkpoint stays."""

import json
import shutil

import pytest
import torch
from forkserver import ForkServer
from launch import flags
from tiny import gpt2_config, make_tokenizer
from tiny_trlx import tiny_config, tiny_trainer
from transformers import AutoModelForCausalLM, GenerationConfig

from summarize_rlhf import UserError
from summarize_rlhf.lm.summaries import generate_summaries
from summarize_rlhf.lm.weights import check_found, clean_config, find_model, load_causal_lm
from summarize_rlhf.tokenizer import load_tokenizer
from trlx.convert import load as load_of_trlx

HUB = "owner/published"


@pytest.mark.parametrize("trace", ["ppo/checkpoint_8/hf_model/config.json", "ppo/metrics.jsonl", "ppo/best/x", "own/x"])
def test_ones_own_run_is_never_replaced(tmp_path, trace) -> None:
    own, run = tmp_path / "own" if trace == "own/x" else tmp_path / "ppo/best", tmp_path / "ppo"
    (tmp_path / trace).parent.mkdir(parents=True)
    (tmp_path / trace).touch()
    assert find_model(own, HUB, run) == str(own)
    with pytest.raises(UserError, match=r"holds no whole model, but .* shows that one was begun"):
        check_found(str(own), own, HUB, run)


def test_an_interrupted_stage_counts_as_ones_own(tmp_path) -> None:
    own = tmp_path / "sft"
    (tmp_path / "sft-steps/checkpoint-4").mkdir(parents=True)
    assert find_model(own, HUB) == str(own)
    with pytest.raises(UserError, match="checkpoint-4 shows that one was begun"):
        check_found(str(own), own, HUB)


def test_an_adapter_is_ones_own_and_a_hidden_file_is_no_model(tmp_path, capsys) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / ".gitkeep").touch()
    assert find_model(own, HUB) == HUB
    (own / "adapter_config.json").write_text("{}")
    assert find_model(own, HUB) == str(own)
    check_found(str(own), own, HUB)
    check_found(HUB, own, HUB)  # named although there is an own one: no note that there is none
    assert capsys.readouterr().out == ""


def test_the_published_model_is_said_to_be_used(tmp_path, gptj_dir, capsys, monkeypatch) -> None:
    assert find_model(tmp_path / "none", HUB, tmp_path) == HUB
    check_found(HUB, tmp_path / "none", HUB)
    assert capsys.readouterr().out == (
        f"note: there is no model in {tmp_path}/none; the published {HUB} is used in its place\n"
    )
    monkeypatch.setenv("RANK", "1")
    check_found(HUB, tmp_path / "none", HUB)
    monkeypatch.delenv("RANK")
    check_found(str(gptj_dir), gptj_dir, HUB)
    check_found("another/model", tmp_path / "none", HUB)
    assert capsys.readouterr().out == ""


@pytest.fixture(scope="module")
def clone(root, tmp_path_factory):
    """The repository as a user has it, without its results, and what starts its scripts."""
    made = tmp_path_factory.mktemp("clone")
    ignored = shutil.ignore_patterns("__pycache__", "gptj-*", "rm_checkpoint*", "wandb")
    for name in ("sft", "reward_model", "summarize_rlhf", "trlx", "configs"):
        shutil.copytree(root / name, made / name, ignore=ignored)
    for name in ("requirements.txt", "trlx_gptj_text_summarization.py", "trlx_inference_gptj.py"):
        shutil.copy(root / name, made)
    starts = ForkServer(tmp_path_factory.mktemp("printed"), made)
    yield made, starts
    starts.stop()


@pytest.mark.parametrize(
    ("script", "own"),
    [
        ("tables", "ckpts/best_checkpoint/hf_model/adapter_model.safetensors"),
        ("ppo", "sft/gptj-supervised-summarize-checkpoint-steps/checkpoint-9/state.json"),
        ("rm", "sft/gptj-supervised-summarize-checkpoint/config.json"),
        ("reward_test", "sft/gptj-supervised-summarize-checkpoint/config.json"),
    ],
)
def test_each_script_refuses_to_take_the_published_model(clone, tldr_dir, script, own) -> None:
    """With default paths, and nothing but a part of an own result there."""
    clone, starts = clone
    (clone / own).parent.mkdir(parents=True)
    (clone / own).write_text("{}")
    try:
        values = {"dataset": tldr_dir} if script == "tables" else {}
        ended = starts.run(script, flags(values), clone, WANDB_MODE="disabled")
    finally:
        shutil.rmtree(clone / "ckpts", ignore_errors=True)
        for folder in (clone / "sft").glob("gptj-*"):
            shutil.rmtree(folder)
    assert ended.code == 2, ended.err[-2000:]
    assert "holds no whole model, but" in ended.error
    assert "CarperAI/openai_summarize_tldr_" in ended.error


# ------------------------------------------------------------- generation config

TASTES = [
    {"do_sample": False, "temperature": 0.9},
    {"do_sample": False, "top_p": 0.6, "top_k": 7},
    {"num_beams": 1, "early_stopping": True, "length_penalty": 2.0},
    {"pad_token_id": -1},
    {"repetition_penalty": 5.0, "suppress_tokens": [5, 6], "forced_eos_token_id": 0},
    {"num_return_sequences": 4},
    {"max_length": 3, "min_length": 99},
    "{",
]


@pytest.mark.parametrize("taste", TASTES, ids=str)
@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_no_generation_config_stands_in_the_way_of_saving(gptj_dir, tmp_path, taste, file) -> None:
    """Neither does it bend a sample: the summaries are those of the same weights without it."""
    model, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(gptj_dir, model)
    if isinstance(taste, dict):
        content = json.loads((model / file).read_text()) | taste
        (model / file).write_text(json.dumps(content))
    elif file == "generation_config.json":
        (model / file).write_text(taste)
    loaded, plain = load_causal_lm(model), load_causal_lm(gptj_dir)
    kept = loaded.generation_config
    assert (kept.eos_token_id, kept.use_cache, kept.temperature) == (0, True, None)
    loaded.save_pretrained(out)
    assert set(json.loads((out / "generation_config.json").read_text())) <= {
        *("bos_token_id", "eos_token_id", "pad_token_id", "use_cache", "transformers_version", "_from_model_config"),
        *("output_attentions", "output_hidden_states"),
    }
    tokenizer = load_tokenizer(gptj_dir)
    for options in ({}, {"do_sample": True}):
        texts = [
            generate_summaries(m, tokenizer, ["my cat", "so"], max_new_tokens=6, progress=None, **options)
            for m in (loaded, plain)
        ]
        assert texts[0] == texts[1]


def test_options_set_on_a_config_object_are_taken_out(tmp_path) -> None:
    config = gpt2_config(len(make_tokenizer()))
    config.temperature, config.repetition_penalty = 0.9, 2.0
    model = clean_config(AutoModelForCausalLM.from_config(config))
    model.save_pretrained(tmp_path)
    assert "temperature" not in json.loads((tmp_path / "config.json").read_text())


def test_ppo_from_a_config_object_and_from_trlx_can_be_saved(gptj_dir, tmp_path) -> None:
    config = gpt2_config(len(make_tokenizer()))
    config.temperature = 0.9
    settings = tiny_config(gptj_dir, tmp_path / "out")
    settings.model.model_path = config
    tiny_trainer(settings).save_pretrained()
    shutil.copytree(gptj_dir, tmp_path / "old")
    content = json.loads((tmp_path / "old/config.json").read_text()) | {"do_sample": False, "temperature": 0.9}
    (tmp_path / "old/config.json").write_text(json.dumps(content | {"pad_token_id": -1}))
    load_of_trlx(tmp_path / "old")[0].save_pretrained(tmp_path / "new")


@pytest.mark.parametrize("given", [None, [3, 0, 9]])
def test_the_saved_policy_stops_where_its_rollouts_did(gptj_dir, tmp_path, given) -> None:
    """At the tokenizer's EOS, or at what gen_kwargs say, whatever list of ends the checkpoint came with."""
    model = tmp_path / "model"
    shutil.copytree(gptj_dir, model)
    GenerationConfig(eos_token_id=[0, 7, 8]).save_pretrained(model)
    (model / "config.json").write_text(
        json.dumps(json.loads((model / "config.json").read_text()) | {"eos_token_id": [0, 7, 8]})
    )
    options = {} if given is None else {"method.gen_kwargs.eos_token_id": given}
    trainer = tiny_trainer(tiny_config(model, tmp_path / "out", **options))
    trainer.save_pretrained()
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "out/hf_model")
    assert saved.generation_config.eos_token_id == (0 if given is None else given)
    assert trainer.rollout_generation.eos_token_id == saved.generation_config.eos_token_id
    ids = torch.tensor([[5, 6, 7]])
    greedy = trainer.generate(ids, do_sample=False)
    assert torch.equal(saved.generate(ids, max_new_tokens=6, do_sample=False), greedy)


def test_the_tables_refuse_a_temperature_before_they_load(server, tmp_path) -> None:
    for value, told in (("-1", "--temperature is -1"), ("nan", "nan"), ("1e-9", "use 0, which is greedy")):
        ended = server.run("tables", flags({"temperature": value, "dataset": "none"}), tmp_path)
        assert (ended.code, told in ended.error) == (2, True), ended.error
