"""What to say when another process of the launch, or its machine, has gone."""

import torch.distributed

# Where torch's exception has no type of its own: gloo names the file that it was raised in.
GLOO = "gloo/transport"


def lost_process(error: RuntimeError) -> str | None:
    """Return one line for an error of the connection to another process; None for an error of another kind."""
    text = next(iter(str(error).splitlines()), "")
    if not isinstance(error, torch.distributed.DistBackendError) and GLOO not in text:
        return None
    reason = text.partition("] ")[2] or text  # without the place in gloo's source
    return (
        f"another process of this launch does not answer ({reason.partition('. ')[0]}): it has ended, or its machine "
        "has. What it printed says why; when that is mended, the same command goes on from the last checkpoint"
    )
