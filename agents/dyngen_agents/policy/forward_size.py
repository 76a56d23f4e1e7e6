"""How many tokens one forward pass of an update may have: few on a CPU, on a GPU as many as its memory holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dyngen_env.lm.logit_chunks import free_memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ON_A_CPU = 1024  # saturates its cores, and so few are of similar length: little padding is computed
ON_A_GPU = 2**16  # saturates every GPU

BYTES_OF_TRAINING = 16  # a trained weight's float32 copy, gradient and Adam's two moments, allocated by the first step
BETWEEN_LAYERS = 2  # elements that elementwise steps (norms, rotations, activations) keep, for each of a matrix product


def tokens_of_a_forward(lm: PreTrainedModel) -> int:
    """Padded tokens that one forward pass with gradients of `lm` may have on the device that it is on now."""
    if lm.device.type != "cuda":
        return ON_A_CPU
    trained = sum(p.numel() for p in lm.parameters() if p.requires_grad)
    return affordable_tokens(free_memory(lm.device) - BYTES_OF_TRAINING * trained, bytes_per_token(lm))


def affordable_tokens(free_bytes: int, per_token: int) -> int:
    """As many tokens as half of the memory holds (logits take a quarter); a power of two, so that runs repeat."""
    tokens = min(ON_A_GPU, max(1, free_bytes // 2 // per_token))
    return 2 ** (tokens.bit_length() - 1)


def bytes_per_token(lm: PreTrainedModel) -> int:
    """What a forward pass keeps of each token for the backward pass, logits apart: about right for any architecture.

    A matrix product keeps its input, and its output is an input of what follows: in + out elements for each weight
    matrix, and `BETWEEN_LAYERS` times as many together with the elementwise steps.
    """
    tables = {id(lm.get_input_embeddings().weight), id(lm.get_output_embeddings().weight)}  # a look-up keeps nothing
    matrices = [p for p in lm.parameters() if p.dim() > 1 and id(p) not in tables]
    elements = BETWEEN_LAYERS * sum(sum(p.shape[-2:]) for p in matrices)
    return max(1, elements * lm.dtype.itemsize)
