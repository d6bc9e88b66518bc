"""Tokenizers of other families (a BOS before, an EOS behind, pieces with blanks): every stage reads the same ids.

The ids are compared with those of the backend tokenizer without its post-processor, BOS and EOS put there by hand.
"""

import json
import random
from pathlib import Path

import pytest
import torch
from tiny import comparison_row, gpt2_config, make_model_dir, make_tokenizer, tldr_row, write_rows
from tiny_trlx import tiny_config, tiny_trainer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, OPTConfig, PreTrainedTokenizerFast

from reward_model.comparisons import encode_comparisons, load_comparisons
from reward_model.label_scores import label_scores
from reward_model.reward_model import RewardModel
from reward_model.scoring import Scorer
from sft.loss import IGNORED
from sft.summarize_dataset import TLDRDataset
from summarize_rlhf import UserError
from summarize_rlhf.data import load_rows
from summarize_rlhf.handover import check_handover, run_record, save_run
from summarize_rlhf.lm import generation
from summarize_rlhf.lm.summaries import generate_summaries
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.text import START, cut_prompts, prompt_text
from summarize_rlhf.tokenizer import load_tokenizer, prefix_ids, token_ids
from trlx.pipeline.offline_pipeline import PromptPipeline
from trlx.trainer import evaluation
from trlx.trainer.rewards import Episode, per_token
from trlx_gptj_text_summarization import make_prompts


def pieces(template: str, bos: str, eos: str) -> PreTrainedTokenizerFast:
    """BPE over pieces that carry their blank, as sentencepiece makes them, with a post-processor of this template."""
    rng = random.Random(0)
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=[*special, *(f"<0x{i:02X}>" for i in range(256))], show_progress=False
    )
    backend.train_from_iterator([tldr_row(rng)["prompt"] for _ in range(50)], trainer)
    ids = [(token, backend.token_to_id(token)) for token in special]
    backend.post_processor = processors.TemplateProcessing(single=template, pair=f"{template} $B", special_tokens=ids)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, eos_token=eos, unk_token="<unk>")


def llama(vocabulary: int) -> LlamaConfig:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaConfig(vocab_size=vocabulary, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, **sizes)


def opt(vocabulary: int) -> OPTConfig:
    sizes = {"hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    options = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 2, "word_embed_proj_dim": 32}
    return OPTConfig(vocab_size=vocabulary, max_position_embeddings=256, **sizes, **options)


FAMILIES = {  # configuration, tokenizer, the ids before each text
    "gpt2": (gpt2_config, make_tokenizer, []),
    "llama": (llama, lambda: pieces("<s> $A", "<s>", "</s>"), [1]),
    "llama with EOS": (llama, lambda: pieces("<s> $A </s>", "<s>", "</s>"), [1]),
    "llama without BOS": (llama, lambda: pieces("$A", "<s>", "</s>"), []),
    "opt": (opt, lambda: pieces("</s> $A", "</s>", "</s>"), [2]),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory) -> tuple[Path, list[int]]:
    """A model directory of random weights, scaled such that its summaries differ, and the prefix it should have."""
    config, tokenizer, prefix = FAMILIES[request.param]
    tokenizer = tokenizer()
    directory = make_model_dir(tmp_path_factory.mktemp("family"), config(len(tokenizer)), tokenizer)
    model = load_causal_lm(directory)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(8 if parameter.dim() > 1 and "pos" not in name else 1)
    model.save_pretrained(directory)
    return directory, prefix


def by_hand(tokenizer: PreTrainedTokenizerFast, prefix: list[int], text: str) -> list[int]:
    """Ids of a text that spells no control token."""
    bare = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    bare.no_padding()
    return [*prefix, *bare.encode(text, add_special_tokens=False).ids]


def test_the_prefix_is_what_the_post_processor_puts_before_a_text(family):
    directory, prefix = family
    tokenizer = load_tokenizer(directory)
    assert prefix_ids(tokenizer) == prefix
    for text in ("my cat moved\n", "TL;DR:", "é <"):
        assert token_ids(tokenizer, [text]) == [by_hand(tokenizer, prefix, text)]


def test_before_the_first_update_ppo_writes_what_the_tables_show_of_the_sft_model(
    family, tldr_dir, tmp_path, monkeypatch
):
    """Stage 3's prompts and greedy responses, id for id, are those of `generate_summaries`; and SFT read the same."""
    directory, prefix = family
    tokenizer = load_tokenizer(directory)
    room = 110
    rows = load_rows(tldr_dir, "valid", ["prompt", "label"], 4)
    prompts = make_prompts(str(tldr_dir), "valid", 4, tokenizer, room)
    seen = []
    real = generation.sample

    def spy(model, config, ids, *rest, **options):
        responses = real(model, config, ids, *rest, **options)
        seen.append((ids, [response.ids for response in responses]))
        return responses

    monkeypatch.setattr(generation, "sample", spy)
    config = tiny_config(directory, tmp_path, train__seq_length=room + 8)
    trainer = tiny_trainer(config, prompts=prompts)
    episodes = evaluation.sample_episodes(trainer, {"max_new_tokens": 8, "do_sample": False})
    places = [row["place"] for row in rows]
    texts = [prompt_text(body) for body in cut_prompts(tokenizer, rows["prompt"], room, places)]
    summaries = generate_summaries(load_causal_lm(directory), tokenizer, texts, max_new_tokens=8, progress=None)

    ppo, sft = seen
    assert ppo == sft
    assert len({str(response) for response in ppo[1]}) > 1
    assert [episode.prompt_text for episode in episodes] == texts
    assert [episode.text.strip() for episode in episodes] == summaries
    for row, ids, label in zip(TLDRDataset(rows, tokenizer, loss_on="summary"), ppo[0], rows["label"], strict=True):
        assert row["input_ids"][: len(ids)] == ids
        assert ids[: len(prefix)] == prefix
        assert tokenizer.eos_token_id not in row["input_ids"][len(prefix) : -1]
        assert row["input_ids"][-1] == tokenizer.eos_token_id
        supervised = [token for token in row["labels"] if token != IGNORED]
        assert tokenizer.decode(supervised[:-1]) == f" {label}"


def test_the_reward_model_reads_the_same_ids_in_training_and_in_scoring(family, tmp_path, monkeypatch):
    directory, prefix = family
    rng = random.Random(0)
    write_rows(tmp_path / "train.jsonl", [comparison_row(rng, words) for words in (5, 10, 60)])  # the last is cut
    tokenizer = load_tokenizer(directory)
    rows, _ = load_comparisons(str(tmp_path), "train")
    trained = encode_comparisons(rows, tokenizer, 110, show_progress=False)
    scorer = Scorer(RewardModel.from_causal_lm(directory), tokenizer, 110)
    read = []
    monkeypatch.setattr(scorer, "score_ids", lambda ids, _: read.extend(ids) or torch.zeros(len(ids)))
    scorer.score(rows["prompt"], rows["chosen"])
    assert read[:2] == trained["chosen_ids"][:2]
    for i in range(2):
        text = f"{START}{rows[i]['prompt']}\n{rows[i]['chosen']}"
        assert read[i] == by_hand(tokenizer, prefix, text)
    cut = [read[2], trained["chosen_ids"][2], trained["rejected_ids"][2]]
    assert all(len(ids) <= 109 and ids[: len(prefix)] == prefix for ids in cut)  # 110 with the EOS


def test_a_cut_prompt_keeps_its_bos(family, tmp_path):
    directory, prefix = family
    tokenizer = load_tokenizer(directory)
    write_rows(tmp_path / "train.jsonl", [tldr_row(random.Random(0), 60)])
    (prompt,) = make_prompts(str(tmp_path), "train", None, tokenizer, 40)
    assert prompt["input_ids"] == by_hand(tokenizer, prefix, prompt["prompt"])
    assert 30 < len(prompt["input_ids"]) <= 40
    assert PromptPipeline([prompt], 40, tokenizer)[0] == (
        prompt["input_ids"],
        prompt["prompt"],
        {name: prompt[name] for name in ("body", "label", "place", "label_score")},
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_strings_are_read_as_in_trlx_and_bos_is_added_on_request(family, side):
    """By default nothing is put before a string; with `add_special_tokens` its BOS is, but never an EOS behind it."""
    directory, prefix = family
    tokenizer = load_tokenizer(directory)
    tokenizer.truncation_side = side
    bare = by_hand(tokenizer, [], "my cat moved today")
    assert PromptPipeline(["my cat moved today"], 50, tokenizer)[0].ids == bare
    added = PromptPipeline(["my cat moved today"], 50, tokenizer, add_special_tokens=True)[0]
    assert (added.ids, added.text) == (prefix + bare, "my cat moved today")
    spelt = tokenizer.bos_token + "my cat moved today"
    (whole,) = PromptPipeline([spelt], 50, tokenizer)
    assert whole.ids[0] == tokenizer.bos_token_id
    assert PromptPipeline([spelt], 3, tokenizer)[0].ids[0] == tokenizer.bos_token_id
    (cut,) = PromptPipeline(["my cat moved today"], len(prefix) + 2, tokenizer, add_special_tokens=True)
    rest = bare[-2:] if side == "left" else bare[:2]
    assert (cut.ids, cut.text) == (prefix + rest, tokenizer.decode(rest))


def test_run_json_says_what_stands_before_a_text_and_the_next_stage_checks_it(family, tmp_path):
    directory, prefix = family
    tokenizer = load_tokenizer(directory)
    save_run(tmp_path, run_record("sft", {}, tokenizer, 0, 120, {}))
    assert json.loads((tmp_path / "run.json").read_text())["prefix_ids"] == prefix
    check_handover(tmp_path, expects_stage="sft", tokenizer=tokenizer)
    other = load_tokenizer(directory)
    eos = (other.eos_token, other.eos_token_id)
    template = "$A" if prefix else f"{eos[0]} $A"
    other.backend_tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=[eos])
    with pytest.raises(UserError, match=r"begin with the ids \[.*\], but the tokenizer given .* puts \[.*\] before"):
        check_handover(tmp_path, expects_stage="sft", tokenizer=other)


def test_earlier_checkpoints_are_accepted_where_nothing_has_changed(family, tmp_path):
    """Their template ended a reward model's text by the characters of GPT-J's EOS, and they name no prefix."""
    directory, _ = family
    tokenizer = load_tokenizer(directory)
    record = run_record("rm", {}, tokenizer, 0, 120, {})
    del record["prefix_ids"]
    earlier = r"sft: {body}\nTL;DR: {summary}<eos> | rm: <|startoftext|>{body}\nTL;DR: {summary}<|endoftext|> | cut: "
    save_run(tmp_path, record | {"template": earlier + "end of body"})
    if tokenizer.eos_token == "<|endoftext|>":
        check_handover(tmp_path, expects_stage="rm", tokenizer=tokenizer)
    else:
        with pytest.raises(UserError, match="was trained on another text template"):
            check_handover(tmp_path, expects_stage="rm", tokenizer=tokenizer)


def test_rewards_per_token_of_the_text_fall_on_the_sampled_tokens(family):
    """A script that counts by `tokenizer(output)` gives one for the BOS as well: it falls on the first token."""
    directory, prefix = family
    tokenizer = load_tokenizer(directory)
    response = by_hand(tokenizer, [], "my cat moved") + [tokenizer.eos_token_id] * 3
    count = len(tokenizer("my cat moved").input_ids)
    given = torch.arange(1.0, count + 1)
    episode = Episode([5], response, "x", "my cat moved", {})
    laid = per_token(given, episode, tokenizer)
    assert laid.sum() == given.sum()
    assert laid[1] == given[len(prefix) + 1]


def test_a_label_without_room_is_named_by_its_row(family, tmp_path):
    """The reward model may read less than the policy: the row is told as its file has it, whatever was drawn."""
    directory, _ = family
    tokenizer = load_tokenizer(directory)
    long = {"prompt": "POST: a\nTL;DR:", "label": "my cat moved " * 30}
    write_rows(tmp_path / "train.jsonl", [tldr_row(random.Random(i)) for i in range(4)] + [long])
    prompts = make_prompts(str(tmp_path), "train", None, tokenizer, 100)[::-1]
    rows = [[row[name] for row in prompts] for name in ("body", "label", "place")]
    scorer = Scorer(RewardModel.from_causal_lm(directory), tokenizer, 60)
    with pytest.raises(UserError, match=r"train\.jsonl, row 5: a summary needs \d+ tokens .* but 59 are allowed"):
        label_scores(scorer, *rows[:2], tmp_path / "scores.json", None, rows[2])
