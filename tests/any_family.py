"""A tiny model of random weights for nearly every causal language model of transformers, and what each can do here.

    python tests/any_family.py [--out tests/families.json] [FAMILY …]

builds each, tries it in a process of its own model, and prints the table of docs/models.md. lm/test_any_family.py tries
some of each kind against slow references.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

# ruff: noqa: E402
import peft
import torch
import transformers
from tqdm.auto import tqdm
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, GenerationConfig, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from reward_model.pairs import can_pack
from reward_model.reward_model import RewardModel
from sft.loss import SupervisedLM
from summarize_rlhf import UserError
from summarize_rlhf.lm.decoding import supports
from summarize_rlhf.lm.speed import tune_model
from summarize_rlhf.lm.weights import check_forward
from trlx.models import lora
from trlx.models.policy import PolicyWithValueHead

VOCABULARY, LAYERS, LARGEST = 48, 4, 3_000_000
# What a family's config has of these is set to a small value.
SIZES = {
    **dict.fromkeys(["hidden_size", "n_embd", "d_model", "embedding_size", "word_embed_proj_dim", "lru_width"], 32),
    **dict.fromkeys(["intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "dff"], 48),
    **dict.fromkeys(["num_hidden_layers", "n_layer", "num_layers", "n_layers"], LAYERS),
    **dict.fromkeys(["num_attention_heads", "n_head", "n_heads", "mamba_n_heads"], 4),
    **dict.fromkeys(["num_key_value_heads", "num_kv_heads"], 2),
    **dict.fromkeys(["max_position_embeddings", "n_positions", "n_ctx"], 64),
    **dict.fromkeys(["num_experts", "num_local_experts", "n_routed_experts"], 4),
    **dict.fromkeys(["num_experts_per_tok", "top_k_experts"], 2),
    **dict.fromkeys(["moe_intermediate_size", "shared_expert_intermediate_size", "mamba_d_head"], 16),
    **dict.fromkeys(["head_dim", "v_head_dim", "qk_head_dim", "kv_lora_rank", "q_lora_rank", "state_size"], 8),
    **dict.fromkeys(["qk_nope_head_dim", "qk_rope_head_dim", "rotary_dim", "mamba_dt_rank", "time_step_rank"], 4),
    **dict.fromkeys(["n_group", "topk_group", "first_k_dense_replace", "mamba_n_groups"], 1),
    **dict.fromkeys(["bos_token_id", "eos_token_id", "pad_token_id"], 0),
    "vocab_size": VOCABULARY,
    "max_window_layers": 2,
    "sliding_window": 40,
    "attention_window_size": 40,
    "attention_hidden_size": 32,
    "mamba_d_state": 8,
}
OWN = {  # what these need beside it
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 40},
    "deepseek_v3": {"head_dim": None, "num_key_value_heads": 4},
}


def make_config(family: str) -> PretrainedConfig | None:
    """A small configuration; None for a family of several models (of text, pictures, sound)."""
    kind = CONFIG_MAPPING[family]
    default = kind()
    if default.get_text_config() is not default:
        return None
    known = default.to_dict()
    names = known.keys() | kind.attribute_map.keys()
    values = {name: size for name, size in SIZES.items() if name in names} | OWN.get(family, {})
    if known.get("layer_types"):
        kinds = list(dict.fromkeys(known["layer_types"]))
        values["layer_types"] = [kinds[i % len(kinds)] for i in range(LAYERS)]
    return kind(**{name: value for name, value in values.items() if value is not None})


def make_any(family: str, seed: int = 0) -> PreTrainedModel | None:
    """Random weights, each moved away from a neutral start; None where there is no tiny model of the family."""
    config = make_config(family)
    if config is None:
        return None
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > LARGEST:
        return None
    torch.manual_seed(seed)
    model = tune_model(AutoModelForCausalLM.from_config(config)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model


def ids(rows: int = 2, tokens: int = 7) -> torch.Tensor:
    return torch.randint(1, VOCABULARY, (rows, tokens), generator=torch.Generator().manual_seed(3))


def trained(family: str) -> str:
    """SFT: the head on the backbone's states."""
    SupervisedLM(make_any(family))(ids(), ids())["loss"].backward()
    return "yes"


def scored(family: str) -> str:
    RewardModel(make_any(family).base_model)(ids())
    return "yes"


def all_blocks(family: str) -> str:
    PolicyWithValueHead(make_any(family), -1)
    return "yes"


def top_blocks(family: str) -> str:
    PolicyWithValueHead(make_any(family), 2)
    return "yes"


def by_lora(family: str) -> str:
    policy = PolicyWithValueHead(lora.add(make_any(family), {"peft_type": "LORA", "r": 2}))
    lora.check_reference(policy)
    return "yes"


def decoded(family: str) -> str:
    return "yes" if supports(make_any(family), GenerationConfig(max_new_tokens=3, eos_token_id=0), 5) else "generate"


def packed(family: str) -> str:
    return "yes" if can_pack(RewardModel(make_any(family).base_model), 30) else "two rows"


ABILITIES = {
    "SFT": trained,
    "reward model": scored,
    "PPO, all blocks": all_blocks,
    "PPO, top blocks": top_blocks,
    "PPO, LoRA": by_lora,
    "own decoding": decoded,
    "packed pairs": packed,
}


def row_of(family: str) -> dict[str, str] | None:
    """What a family can do; None where there is no tiny model of it."""
    try:
        model = make_any(family)
        if model is None:
            return None
        model(input_ids=ids())  # a fault of this configuration, not of ours
    except Exception:  # the configuration of this file does not suit it
        return None
    try:
        check_forward(family, model)
    except UserError:
        return dict.fromkeys(ABILITIES, "refused")
    row = {}
    for name, ability in ABILITIES.items():
        try:
            row[name] = ability(family)
        except UserError:
            row[name] = "refused"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", default=sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
    parser.add_argument("--out", type=Path, help="write the table to this JSON file")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    rows, skipped = {}, []
    for family in tqdm(args.families, unit="family"):
        row = row_of(family)
        if row is None:
            skipped.append(family)
        else:
            rows[family] = row
            tqdm.write(f"{family:22} " + ", ".join(f"{name}: {value}" for name, value in row.items()))
    print(f"{len(rows)} families; no tiny model of {', '.join(skipped)}")
    if args.out:
        from benchmarks.measure import machine

        made = {"command": "python tests/any_family.py", "machine": machine(), "peft": peft.__version__}
        args.out.write_text(json.dumps(made | {"families": rows, "skipped": skipped}, indent=1) + "\n")


if __name__ == "__main__":
    main()
