"""Merge an adapter (LoRA) into its base model and write a plain transformers directory.

    python -m trlx.merge ADAPTER NEW

`ADAPTER` is an `hf_model` directory that PPO wrote with `model.peft_config`; its `adapter_config.json` names the base
model. `NEW` gets the merged model in fp32, the tokenizer, the value head and run.json. The stages and the tables read
`ADAPTER` as it is; merge it for other programs.
"""

import argparse
import shutil
from pathlib import Path

from summarize_rlhf import UserError
from summarize_rlhf.handover import RUN_FILE
from summarize_rlhf.lm.adapters import is_adapter
from summarize_rlhf.lm.weights import fit_to_tokenizer, load_causal_lm
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.run.files import write_directory
from summarize_rlhf.tokenizer import load_tokenizer


def merge(adapter: str | Path, new: str | Path) -> None:
    """Write the model in the directory `adapter` as the directory `new`, completely or not at all."""
    adapter = Path(adapter)
    if not is_adapter(adapter):
        raise UserError(f"{adapter} holds no adapter (no adapter_config.json)")
    tokenizer, model = load_tokenizer(adapter), load_causal_lm(adapter)
    fit_to_tokenizer(model, tokenizer, max_length=0)
    with write_directory(new) as tmp:
        model.save_pretrained(tmp)
        tokenizer.save_pretrained(tmp)
        for name in ("value_head.safetensors", RUN_FILE):
            if (adapter / name).is_file():
                shutil.copyfile(adapter / name, tmp / name)


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
