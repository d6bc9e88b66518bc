"""From prompts to training batches: the ids that were sampled are the ids that are scored and trained on."""

import copy

import pytest
import torch
from tiny_trlx import PROMPTS, tiny_config, tiny_trainer
from transformers import AutoModelForCausalLM, GenerationConfig

from summarize_rlhf.lm import decoding, end_of_response, generation, generation_options
from trlx.pipeline.offline_pipeline import PromptCursor, PromptPipeline
from trlx.pipeline.rollouts import Rollout, collate, collate_tokens, minibatches, pad
from trlx.trainer.rewards import Episode, shared_rows

EOS = 0  # and pad: `load_tokenizer` gives a tokenizer without pad its EOS


@pytest.fixture
def model(gptj_dir):
    return AutoModelForCausalLM.from_pretrained(gptj_dir).eval()


def rollout(prompt: list[int], response: list[int], first: float = 1.0) -> Rollout:
    """A rollout whose numbers count up from `first`."""
    numbers = first + torch.arange(len(response), dtype=torch.float)
    return Rollout(prompt, response, numbers, numbers + 10, numbers + 20, numbers + 30, None)


# ------------------------------------------------------------------ prompts


def test_cursor_goes_through_every_prompt_each_round_in_another_order() -> None:
    cursor = PromptCursor(5, seed=3)
    drawn = cursor.take(7) + cursor.take(1) + cursor.take(7)
    rounds = [drawn[i : i + 5] for i in (0, 5, 10)]
    assert [sorted(r) for r in rounds] == [list(range(5))] * 3
    assert len({tuple(r) for r in rounds}) == 3
    assert PromptCursor(5, seed=3).take(15) == drawn
    assert PromptCursor(5, seed=4).take(15) != drawn


def test_cursor_goes_on_from_its_state() -> None:
    cursor, again = PromptCursor(5, seed=3), PromptCursor(5, seed=3)
    cursor.take(7)
    again.load_state_dict(cursor.state_dict())
    assert again.take(9) == cursor.take(9)


def test_pipeline_takes_strings_and_dictionaries_and_leaves_them_alone(tokenizer) -> None:
    rows = [{"prompt": "my cat", "label": "a"}, {"prompt": "boss", "label": "b"}]
    before = copy.deepcopy(rows)
    pipeline = PromptPipeline(rows, 10, tokenizer)
    assert rows == before
    assert [item.metadata for item in pipeline.items] == [{"label": "a"}, {"label": "b"}]
    plain = PromptPipeline(["my cat", "boss"], 10, tokenizer)
    assert [item.ids for item in plain.items] == [item.ids for item in pipeline.items]
    assert plain[0].ids == tokenizer("my cat").input_ids
    assert (plain[0].text, plain[0].metadata, len(plain)) == ("my cat", {}, 2)


@pytest.mark.parametrize(("side", "kept"), [("right", slice(0, 4)), ("left", slice(-4, None))])
def test_pipeline_cuts_long_prompts_and_their_text(tokenizer, side: str, kept: slice) -> None:
    tokenizer.truncation_side = side
    text = "my sister lost the money never again"
    item = PromptPipeline([text], 4, tokenizer)[0]
    assert item.ids == tokenizer(text).input_ids[kept]
    assert item.text == tokenizer.decode(item.ids)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "no prompts"),
        (["my cat", ""], "prompt 1 is empty"),
        ([{"text": "my cat"}], "prompt 0 has no key 'prompt', only \\['text'\\]"),
        ([{"prompt": "a", "x": 1}, {"prompt": "b"}], "prompt 1 has the keys"),
    ],
)
def test_pipeline_refuses(tokenizer, prompts: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PromptPipeline(prompts, 10, tokenizer)


# ------------------------------------------------------------------ batches


def test_batch_by_hand() -> None:
    """Padding and EOS have the same id 0, in prompts too: masks come from lengths."""
    batch = collate([rollout([7, 0, 8], [5, 0]), rollout([9], [4, 3, 0], first=5.0)])
    assert batch.tokens.tolist() == [[7, 0, 8, 5, 0], [9, 4, 3, 0, 0]]
    assert batch.prompt_lengths.tolist() == [3, 1]
    assert batch.responses.tolist() == [[5, 0, 0], [4, 3, 0]]
    assert batch.mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.logprobs.tolist() == [[1, 2, 0], [5, 6, 7]]
    assert batch.values.tolist() == [[11, 12, 0], [15, 16, 17]]
    assert batch.advantages.tolist() == [[21, 22, 0], [25, 26, 27]]
    assert batch.returns.tolist() == [[31, 32, 0], [35, 36, 37]]
    assert batch.trunk is None


def test_trunk_is_padded_behind() -> None:
    rows = [rollout([7], [5])._replace(trunk=torch.ones(2, 3)), rollout([7], [5, 6])._replace(trunk=torch.ones(3, 3))]
    assert collate(rows).trunk[:, :, 0].tolist() == [[1, 1, 0], [1, 1, 1]]


def test_pad() -> None:
    assert pad([[1], [2, 3]], torch.long).tolist() == [[1, 0], [2, 3]]


@pytest.mark.parametrize(("n", "size", "parts", "steps"), [(12, 4, 1, 3), (10, 4, 2, 3), (5, 8, 3, 2), (2, 8, 4, 1)])
def test_minibatches_hold_every_rollout_once(n: int, size: int, parts: int, steps: int) -> None:
    epochs = []
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(5, 50, (n,), generator=generator).tolist()
    for _ in range(2):
        updates = list(minibatches(lengths, size, parts, steps, generator))
        assert [len(update) for update in updates] == [parts] * steps
        assert sorted(row for update in updates for part in update for row in part) == list(range(n))
        assert all(sum(map(len, update)) <= size for update in updates)
        assert all(len(part) <= -(-size // parts) for update in updates for part in update)
        for update in updates:
            rows = [lengths[row] for part in update for row in part]
            assert rows == sorted(rows)  # those of a micro-batch are of like length
        epochs.append(updates)
    assert steps == 1 or n <= size or epochs[0] != epochs[1]


@pytest.mark.parametrize(("total", "processes"), [(8, 1), (8, 2), (7, 2), (3, 4)])
def test_shares_are_contiguous_and_whole(total: int, processes: int) -> None:
    shares = [list(shared_rows(total, processes, rank)) for rank in range(processes)]
    assert [row for share in shares for row in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


# ----------------------------------------------------------- ends of responses


@pytest.mark.parametrize(
    ("response", "expected"),
    [([5, 0, 0, 0], [5, 0]), ([0, 0], [0]), ([5, 6, 7], [5, 6, 7]), ([5, 9, 0], [5, 9])],
)
def test_up_to_end(response: list[int], expected: list[int]) -> None:
    """EOS is kept, what `generate` pads behind it is not; 9 is a second EOS."""
    assert end_of_response.up_to_end(response, GenerationConfig(eos_token_id=[0, 9])) == expected


def test_cut_at_stop(tokenizer) -> None:
    """Ids end with the token that completes the first stop; the text ends before it."""
    text = "my cat lost\nthe money today"
    ids = tokenizer(text).input_ids
    cut, kept = end_of_response.cut_at_stop(tokenizer, [], ids, ["today", "\nthe"])
    assert kept == "my cat lost"
    assert "\nthe" in tokenizer.decode(cut)
    assert "\nthe" not in tokenizer.decode(cut[:-1])
    assert cut == ids[: len(cut)]
    assert end_of_response.cut_at_stop(tokenizer, [], ids, ["train", "xyz"]) == (ids, text)
    assert end_of_response.cut_at_stop(tokenizer, [], [*ids, EOS], []) == ([*ids, EOS], text)


# ----------------------------------------------------------------- generation


def sample(
    model, config: GenerationConfig, prompts: list[list[int]], batch_size: int, seed: int = 1
) -> list[list[int]]:
    """Response ids, from random numbers of this seed."""
    noise = generation.uniforms(len(prompts), config, seed)
    return [response.ids for response in generation.sample(model, config, prompts, noise, batch_size)]


def test_sampled_distribution_is_the_trained_one(model, tokenizer) -> None:
    """30,000 draws at temperature .7 follow softmax(logits / .7), in total variation, as closely as chance allows."""
    with torch.no_grad():  # peaked enough that temperature and top-k would show
        model.lm_head.weight.mul_(20)
    prompt, n = tokenizer("my cat").input_ids, 30_000
    config = generation_options.generation_config(tokenizer, {"max_new_tokens": 1, "temperature": 0.7})
    draws = torch.tensor(sample(model, config, [prompt] * n, 15_000)).flatten()
    found = torch.bincount(draws, minlength=model.config.vocab_size) / n
    logits = model(torch.tensor([prompt])).logits[0, -1].detach()
    assert 0.5 * (found - (logits / 0.7).softmax(-1)).abs().sum() < 0.025
    assert 0.5 * (found - logits.softmax(-1)).abs().sum() > 0.2


def test_checkpoints_own_generation_config_does_not_leak(model, tokenizer) -> None:
    prompts = [tokenizer(text).input_ids for text in PROMPTS]

    def draw(**options) -> list[list[int]]:
        torch.manual_seed(1)  # for `generate`, which sees to the penalty
        config = generation_options.generation_config(tokenizer, {"max_new_tokens": 8, **options})
        return sample(model, config, prompts, 8)

    by_generate = {"repetition_penalty": 1.0, "num_beams": 1, "typical_p": 0.999999}
    assert not decoding.supports(
        model, generation_options.generation_config(tokenizer, {"max_new_tokens": 8, **by_generate})
    )
    expected, expected_of_generate = draw(), draw(**by_generate)
    own = GenerationConfig(
        repetition_penalty=50.0,
        top_k=1,
        top_p=0.1,
        min_new_tokens=8,
        suppress_tokens=list(range(100, 200)),
        no_repeat_ngram_size=1,
        eos_token_id=list(range(50)),
        forced_eos_token_id=7,
    )
    model.generation_config = own
    assert draw() == expected
    assert draw(**by_generate) == expected_of_generate
    assert model.generation_config is own


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 4, "temprature": 1.0}, "here: generate\\(\\) has no option 'temprature'"),
        ({"top_k": 0}, "here needs max_new_tokens"),
        ({"max_new_tokens": 4, "max_length": 9}, "'max_length' is not supported; .*max_new_tokens"),
        ({"max_new_tokens": 4, "num_return_sequences": 2}, "'num_return_sequences' is not supported"),
        ({"max_new_tokens": 4, "stop_strings": ["x"]}, "use the stop_sequences of trlx.train"),
        ({"max_new_tokens": [4, 5], "temperature": [1.0]}, "only one option can be swept"),
    ],
)
def test_options_are_refused_by_name(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generation_options.check_options(options, "here")


def test_sweep() -> None:
    options = {"max_new_tokens": 4, "temperature": [0.5, 1.0], "eos_token_id": [0, 9]}
    assert generation_options.sweep(options) == [
        ("@temperature=0.5", {**options, "temperature": 0.5}),
        ("@temperature=1.0", {**options, "temperature": 1.0}),
    ]
    assert generation_options.sweep({"max_new_tokens": 4}) == [("", {"max_new_tokens": 4})]


def test_what_bends_the_distribution() -> None:
    straight = {"max_new_tokens": 4, "temperature": 0.5, "top_k": 0, "top_p": 1, "do_sample": True, "num_beams": 1}
    assert generation_options.bends_distribution(straight) == []
    bent = {"max_new_tokens": 4, "top_k": 50, "top_p": 0.9, "do_sample": False, "repetition_penalty": 1.2}
    assert generation_options.bends_distribution(bent) == ["top_k", "top_p", "do_sample", "repetition_penalty"]


def test_default_is_the_whole_distribution(tokenizer) -> None:
    config = generation_options.generation_config(tokenizer, {"max_new_tokens": 4})
    assert (config.do_sample, config.temperature, config.top_k, config.top_p) == (True, 1.0, 0, 1.0)
    assert (config.eos_token_id, config.pad_token_id) == (EOS, EOS)


# ----------------------------------------------------------- through the trainer


def test_ids_sampled_are_ids_stored_and_trained(gptj_dir, tmp_path, monkeypatch) -> None:
    """A random model writes ids that decoding and encoding again would change: they must stay as they are."""
    sampled: list[list[int]] = []
    trained: list[list[int]] = []
    original = generation.sample

    def spy(*args):
        responses = original(*args)
        sampled.extend(response.ids for response in responses)
        return responses

    monkeypatch.setattr(generation, "sample", spy)
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path, train__epochs=1, method__ppo_epochs=1))
    rollouts, _ = trainer.make_experience()
    assert [r.response for r in rollouts] == sampled
    again = [trainer.tokenizer(trainer.tokenizer.decode(ids)).input_ids for ids in sampled]
    assert again != sampled, "this model's samples survive decoding: the test shows nothing"

    forward = trainer.model.forward

    def watch(tokens, prompt_lengths, responses, *args, **kwargs):
        trained.extend(row.tolist() for row in responses)
        for row, q, response in zip(tokens, prompt_lengths, responses, strict=True):
            assert row[q : q + len(response)].tolist() == response[: len(row) - q].tolist()
        return forward(tokens, prompt_lengths, responses, *args, **kwargs)

    trainer.model.forward = watch
    trainer.update([rollouts], rollouts[0])
    width = max(map(len, sampled))
    assert trained == [r.response + [0] * (width - len(r.response)) for r in rollouts]


def test_prompts_of_rollouts_are_the_cursors(gptj_dir, tmp_path) -> None:
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path))
    expected = PromptCursor(len(PROMPTS), trainer.config.train.seed).take(8)
    rollouts, _ = trainer.make_experience()
    assert [r.prompt for r in rollouts] == [trainer.prompts[i].ids for i in expected]


def episode(prompt: list[int], response: list[int]) -> Episode:
    return Episode(prompt, response, "", "", {})


def test_score_falls_on_the_last_response_token(gptj_dir, tmp_path) -> None:
    """No KL, no values, gamma ½, lambda 1: the return at token t is score · ½^(R − 1 − t)."""
    config = tiny_config(gptj_dir, tmp_path, method__gamma=0.5, method__lam=1.0)
    trainer = tiny_trainer(config)
    episodes = [episode([7], [5, EOS]), episode([7, 8], [4, 3, 2, EOS])]
    outputs = [
        {name: torch.zeros(len(e.response)) for name in ("logprobs", "values", "ref_logprobs", "entropy")}
        | {"trunk": None}
        for e in episodes
    ]
    rollouts, _ = trainer.store(episodes, outputs, [torch.tensor(8.0), torch.tensor(16.0)])
    assert rollouts[0].returns.tolist() == [4.0, 8.0]
    assert rollouts[1].returns.tolist() == [2.0, 4.0, 8.0, 16.0]


def test_eos_is_trained(gptj_dir, tmp_path) -> None:
    """With an advantage on EOS alone, an update makes EOS likelier there; its mask is 1 though pad is the same id."""
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path, method__vf_coef=0.0))
    batch = collate_tokens([[7, 8]], [[5, EOS]])
    assert batch.mask.tolist() == [[1, 1]]
    before = trainer.policy(batch.tokens, batch.prompt_lengths, batch.responses).logprobs.detach()
    zero = torch.zeros(2)
    made = Rollout([7, 8], [5, EOS], before[0], zero, torch.tensor([0.0, 1.0]), zero, None)
    trainer.update([[made]], made)
    after = trainer.policy(batch.tokens, batch.prompt_lengths, batch.responses).logprobs.detach()
    assert after[0, 1] > before[0, 1] + 0.01


def test_rollouts_hold_what_the_model_says_of_each_alone(gptj_dir, tmp_path) -> None:
    """Stored log-probabilities are those of transformers' own forward over prompt + response, row by row."""
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path))
    rollouts, _ = trainer.make_experience()
    for r in rollouts:
        logprobs = trainer.policy.model(torch.tensor([r.prompt + r.response])).logits[0].log_softmax(-1)
        expected = [logprobs[len(r.prompt) + t - 1, token].item() for t, token in enumerate(r.response)]
        torch.testing.assert_close(r.logprobs, torch.tensor(expected), rtol=0, atol=2e-6)
        assert r.trunk.shape == (len(r.prompt) + len(r.response), 32)


def test_statistics_by_hand(gptj_dir, tmp_path) -> None:
    """Two episodes, of 1 and 3 tokens; log-ratios .5 and (.1, .2, .3): KL .55 per episode, .275 per token."""
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path, method__num_rollouts=2))
    episodes = [episode([7], [EOS]), episode([7], [4, 3, 2])]
    ratios = torch.tensor([[0.5, 0.0, 0.0], [0.1, 0.2, 0.3]])
    stats = trainer.rollout_statistics(episodes, ratios, torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.0, 2.0]]))
    assert stats["policy/kl"] == pytest.approx(0.55)
    assert stats["policy/kl_per_token"] == pytest.approx(0.275)
    k3 = ((-ratios).exp() - 1 + ratios).sum().item() / 2
    assert stats["policy/sqrt_kl"] == pytest.approx(k3**0.5)
    assert stats["rollouts/entropy"] == pytest.approx(1.5)
    assert stats["rollouts/response_length"] == 2.0
    assert stats["rollouts/eos_rate"] == 0.5
