"""Reimplement the published stage 3 (trlX 0.7's PPO trainer, the example's reward function), a baseline of benchmarks.

Faithful to the work it does, including wasted work: human summaries are scored again at each call, every text twice,
two at a time padded to 550; the reference policy runs the frozen blocks again; the loss runs them again in every epoch;
logits and log-probabilities are of every position. Its wrong rewards and masks are corrected here, at the same cost.
"""

import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from benchmarks import published
from trlx.models.modeling_ppo import PPOConfig
from trlx.utils.modeling import logprobs_of_labels

Seconds = dict[str, float]


class Element(NamedTuple):
    """trlX's PPORLElement, on the CPU."""

    query: Tensor  # (Q) without padding
    response: Tensor  # (R)
    logprobs: Tensor  # (R)
    values: Tensor  # (R)
    rewards: Tensor  # (R)


class Policy(nn.Module):
    """A causal LM, a value head, and a frozen copy of the top blocks on the trunk's output of another pass."""

    def __init__(self, path: Path, unfrozen: int, attention: str):
        super().__init__()
        self.base = published.load_model(path, attention)
        self.frozen = published.load_model(path, attention).requires_grad_(False)  # only its top blocks run
        width = self.base.config.n_embd
        self.v_head = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, 1))
        blocks = self.base.transformer.h
        self.depth = len(blocks) - unfrozen
        self.base.transformer.wte.requires_grad_(False)
        blocks[: self.depth].requires_grad_(False)
        self.frozen.transformer.h = self.frozen.transformer.h[self.depth :]
        for i, block in enumerate(self.frozen.transformer.h):
            block.attn.layer_idx = i

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, T, V) and values (B, T)."""
        out = self.base(ids, attention_mask=mask, position_ids=positions(mask), output_hidden_states=True)
        return out.logits, self.v_head(out.hidden_states[-1]).squeeze(-1)

    def forward_hydra(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return logits (B, T, V) of the reference policy."""
        out = self.base(ids, attention_mask=mask, position_ids=positions(mask), output_hidden_states=True)
        trunk = out.hidden_states[self.depth]
        return self.frozen(inputs_embeds=trunk, attention_mask=mask, position_ids=positions(mask)).logits


def positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(-1) - 1).clamp(min=0)


class PPO:
    """trlX's loop on one process: collect `prompts`, then optimise."""

    def __init__(
        self, policy: Path, reward_model: Path, tokenizer: PreTrainedTokenizerFast, unfrozen: int, method: PPOConfig,
        chunk: int, batch: int, accumulation: int, attention: str = published.EAGER, seed: int = 0,
    ):  # fmt: skip
        torch.manual_seed(seed)
        self.policy = Policy(policy, unfrozen, attention)
        scorer = published.GPTRewardModel(reward_model, tokenizer.pad_token_id, attention)
        self.scorer = scorer.requires_grad_(False).eval()
        self.tokenizer, self.method = tokenizer, method
        self.chunk, self.batch, self.accumulation = chunk, batch, accumulation
        trained = [p for p in self.policy.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=5e-6, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
        self.seconds: Seconds = {}

    def iteration(self, prompts: list[list[int]], labels: list[str]) -> Seconds:
        """Run an iteration and return the seconds of each phase."""
        self.seconds = dict.fromkeys(("generate", "reward", "policy", "reference", "optimise"), 0.0)
        store: list[Element] = []
        for start in range(0, len(prompts), self.chunk):
            rows = slice(start, start + self.chunk)
            store += self.collect(prompts[rows], labels[rows])
        self.timed("optimise", self.optimise, store)
        return self.seconds

    def timed(self, phase: str, function, *args):
        start = time.perf_counter()
        result = function(*args)
        self.seconds[phase] += time.perf_counter() - start
        return result

    @torch.no_grad()
    def collect(self, prompts: list[list[int]], labels: list[str]) -> list[Element]:
        pad = self.tokenizer.pad_token_id
        queries = pad_left([torch.tensor(p) for p in prompts], pad)
        mask = pad_left([torch.ones(len(p), dtype=torch.long) for p in prompts], 0)
        samples = self.timed("generate", self.generate, queries, mask)
        texts = self.tokenizer.batch_decode(samples, skip_special_tokens=True)
        scores = self.timed("reward", self.reward, texts, labels)
        responses = samples[:, queries.shape[1] :]
        ids = torch.cat((queries, responses), 1)
        mask = torch.cat((mask, torch.ones_like(responses)), 1)
        logits, values = self.timed("policy", self.policy, ids, mask)
        logprobs = self.timed("policy", logprobs_of_labels, logits[:, :-1], ids[:, 1:])
        ref_logits = self.timed("reference", self.policy.forward_hydra, ids, mask)
        ref_logprobs = self.timed("reference", logprobs_of_labels, ref_logits[:, :-1], ids[:, 1:])
        start = queries.shape[1] - 1
        rewards = -self.method.init_kl_coef * (logprobs - ref_logprobs)[:, start:]
        rewards[:, -1] += scores
        rows = zip(prompts, responses, logprobs[:, start:], values[:, start:-1], rewards, strict=True)
        return [Element(torch.tensor(query), *rest) for query, *rest in rows]

    def generate(self, queries: Tensor, mask: Tensor) -> Tensor:
        new = self.method.gen_kwargs["max_new_tokens"]
        return self.policy.base.generate(
            queries, attention_mask=mask, do_sample=True, top_k=0, top_p=1.0, max_new_tokens=new,
            use_cache=True, pad_token_id=self.tokenizer.pad_token_id,
        )  # fmt: skip

    def reward(self, texts: list[str], labels: list[str]) -> Tensor:
        """Return each score less that of the human summary under the same post, as the example's reward_fn does."""
        posts = [text.split("TL;DR:")[0] + "TL;DR: " for text in texts]
        originals = [post + label for post, label in zip(posts, labels, strict=True)]
        return self.scores(texts) - self.scores(originals)

    def scores(self, texts: list[str]) -> Tensor:
        found = []
        for i in range(0, len(texts), 2):
            rows = [published.padded(self.tokenizer, published.rm_text(text)) for text in texts[i : i + 2]]
            ids, mask = (torch.stack(part).repeat(2, 1) for part in zip(*rows, strict=True))
            found.append(self.scorer(ids, mask)["chosen_end_scores"])
        return torch.cat(found)

    def optimise(self, store: list[Element]) -> None:
        for _ in range(self.method.ppo_epochs):
            order = torch.randperm(len(store)).tolist()
            batches = [order[i : i + self.batch] for i in range(0, len(order), self.batch)]
            for number, rows in enumerate(batches, 1):
                (self.loss([store[i] for i in rows]) / self.accumulation).backward()
                if number % self.accumulation == 0 or number == len(batches):
                    self.optimizer.step()
                    self.optimizer.zero_grad()

    def loss(self, elements: list[Element]) -> Tensor:
        """Return PPO's loss, with advantages of this batch, from logits of every position."""
        queries = pad_left([e.query for e in elements], self.tokenizer.pad_token_id)
        mask = pad_left([torch.ones_like(e.query) for e in elements], 0)
        responses, logprobs, values, rewards = (torch.stack(part) for part in list(zip(*elements, strict=True))[1:])
        advantages, returns = self.method.get_advantages_and_returns(values, rewards, responses.shape[1])
        ids = torch.cat((queries, responses), 1)
        mask = torch.cat((mask, torch.ones_like(responses)), 1)
        logits, new_values = self.policy(ids, mask)
        new_logprobs = logprobs_of_labels(logits[:, :-1], ids[:, 1:])
        start = queries.shape[1] - 1
        loss, _ = self.method.loss(
            new_logprobs[:, start:], new_values[:, start:-1], logprobs, values, advantages, returns,
            torch.ones_like(values),
        )  # fmt: skip
        return loss


def pad_left(rows: list[Tensor], filler: int) -> Tensor:
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=filler, padding_side="left")
