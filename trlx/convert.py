"""Convert a PPO checkpoint of trlX 0.7 into a plain transformers directory.

    python -m trlx.convert OLD NEW

`OLD` is an `hf_model` directory of trlX: its weights are named `base_model.*`, `v_head.*` and `frozen_head.*` (the
reference policy's blocks), and transformers would load it with random weights. `NEW` gets the model, the value head
beside it and, if `OLD` has one, the tokenizer: the files of this engine's own checkpoints. `model.model_path` may also
name `OLD` itself.
"""

import argparse
from pathlib import Path

from safetensors.torch import save_file

from summarize_rlhf import UserError
from summarize_rlhf.lm.model_directory import read_causal_lm, write_model
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.tokenizer import load_tokenizer
from trlx.models.trlx_checkpoint import HEAD, MODEL, is_of_trlx, load


def convert(old: str | Path, new: str | Path) -> None:
    """Write the trlX checkpoint `old` as the transformers directory `new`, completely or not at all."""
    if not is_of_trlx(old):
        raise UserError(f"{old} has no weights named {MODEL}* or {HEAD}0.*: it is no PPO checkpoint of trlX")
    model, head = load(old)
    with write_model(new, read_causal_lm) as tmp:
        model.save_pretrained(tmp)
        if head:
            save_file(head, tmp / "value_head.safetensors")
        if (Path(old) / "tokenizer_config.json").is_file():
            load_tokenizer(old).save_pretrained(tmp)


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="directory of trlX's checkpoint")
    parser.add_argument("new", help="directory to write; must not exist")
    arguments = parser.parse_args()
    convert(arguments.old, arguments.new)
    print(f"wrote {arguments.new}")


if __name__ == "__main__":
    main()
