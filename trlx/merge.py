"""Merge an adapter (LoRA) into its base model and write a plain directory.

    python -m trlx.merge ADAPTER NEW

`ADAPTER` is a directory that SFT or reward model wrote with `--lora_r`, or PPO with `model.peft_config`; its
`adapter_config.json` names the base model. `NEW` gets the merged model in fp32, the tokenizer and run.json: a
transformers directory, with PPO's value head beside it, or of a reward model what stage 2 writes without LoRA. The
stages and the tables read `ADAPTER` as it is; merge it for other programs.
"""

import argparse
import shutil
from pathlib import Path

from safetensors.torch import save_file

from summarize_rlhf import UserError
from summarize_rlhf.handover import RUN_FILE, read_run, save_run
from summarize_rlhf.lm.adapters import is_adapter
from summarize_rlhf.lm.lora import HEAD, base_config, reward_weights
from summarize_rlhf.lm.weights import fit_to_tokenizer, load_causal_lm
from summarize_rlhf.model_card import write_model_card
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.run.files import write_directory
from summarize_rlhf.tokenizer import load_tokenizer


def merge(adapter: str | Path, new: str | Path) -> None:
    """Write the model in the directory `adapter` as the directory `new`, completely or not at all."""
    adapter = Path(adapter)
    if not is_adapter(adapter):
        raise UserError(f"{adapter} holds no adapter (no adapter_config.json)")
    tokenizer = load_tokenizer(adapter)
    with write_directory(new) as tmp:
        if (adapter / HEAD).is_file():
            save_file(reward_weights(adapter), tmp / "model.safetensors", metadata={"format": "pt"})
            base_config(adapter).save_pretrained(tmp)
        else:
            model = load_causal_lm(adapter)
            fit_to_tokenizer(model, tokenizer, max_length=0)
            model.save_pretrained(tmp)
        tokenizer.save_pretrained(tmp)
        for name in ("value_head.safetensors", "metrics.jsonl"):
            if (adapter / name).is_file():
                shutil.copyfile(adapter / name, tmp / name)
        if (adapter / RUN_FILE).is_file():  # of other files: their hashes are taken anew
            record = {key: x for key, x in read_run(adapter).items() if key not in ("files", "base_sha256")}
            write_model_card(tmp, record)
            save_run(tmp, record)


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter", help="directory of the adapter")
    parser.add_argument("new", help="directory to write")
    arguments = parser.parse_args()
    merge(arguments.adapter, arguments.new)
    print(f"wrote {arguments.new}")


if __name__ == "__main__":
    main()
