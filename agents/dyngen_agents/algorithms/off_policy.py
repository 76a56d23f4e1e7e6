"""Recorded episodes as a policy-gradient algorithm can learn from them: reread by the policy as it is, and weighted."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from dyngen_agents.data.batching import map_in_batches
from dyngen_agents.data.episode_store import EpisodeStore
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.distributed.processes import Processes
from dyngen_agents.functional.importance import effective_share, truncated_importance
from dyngen_agents.functional.returns import masked_mean
from dyngen_agents.policy.causal_lm import CausalLMPolicy


def require_logprobs(recorded: EpisodeStore) -> None:
    """Raises ValueError unless it is known of each episode how likely its tokens were to be chosen."""
    unknown = sum(not bool(episode.logprobs[episode.completion_mask].any()) for episode in recorded.episodes)
    if unknown:
        raise ValueError(
            f"of {unknown} of {len(recorded)} recorded episodes nobody knows how likely their tokens were, and an "
            "algorithm that weighs them by that cannot learn from them: record them with dyngen record, or train "
            "behaviour-cloning, dpo or q"
        )


def reread(
    policy: CausalLMPolicy, batch: Trajectories, cap: float, max_tokens: int, processes: Processes
) -> tuple[Trajectories, Tensor, dict[str, float]]:
    """A batch that others have played, as if the policy had: with its own log-probs and values.

    Proximity is then to the policy as it is, and what others chose is corrected by a weight of its own, which stays
    fixed over the update: the decoupled objective of Hilton et al. 2022 ("Batch size-invariance for policy
    optimization"), with the weights of `truncated_importance`.

    Args:
        cap: of the weights.

    Returns:
        the batch; the weights (N, L) by which its advantages count; and metrics: the mean weight "importance" and the
        "effective_share" of the choices.
    """
    mask = batch.completion_mask
    logprobs, values = (
        map_in_batches(lambda t, m, name=name: getattr(policy.evaluate(t, m), name), batch, max_tokens, processes)
        for name in ("logprobs", "values")
    )
    weights = truncated_importance(logprobs, batch.logprobs, cap)
    metrics = {
        "importance": float(masked_mean(weights, mask)),
        "effective_share": float(effective_share(weights, mask)),
    }
    return replace(batch, logprobs=logprobs, values=values), weights, metrics
