"""What a step returns, as numpy arrays or as tensors on the env's device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from dyngen_env.envs.infos import About, Ends, about_infos, array_infos, tensor_infos
from dyngen_env.envs.observations import Observer, row_of
from dyngen_env.mdp.state import TokenState


class Output(Protocol):
    """The form of everything that an env returns; B rows, L tokens of context."""

    def observations(self, state: TokenState) -> Any:
        """What agents are shown of a state."""

    def numbers(self, rewards: torch.Tensor, terminated: torch.Tensor, truncated: torch.Tensor) -> tuple[Any, Any, Any]:
        """Rewards (B,) float64, terminated and truncated (B,) bool."""

    def nothing(self, state: TokenState) -> tuple[Any, Any, Any]:
        """The same where nothing is paid and no episode ends."""

    def infos(self, ends: Ends) -> dict[str, Any]:
        """What is told of the episodes that ended in a step."""

    def final(self, infos: dict[str, Any], ended: np.ndarray, state: TokenState) -> dict[str, Any]:
        """The infos of SAME_STEP, whose rows `ended` (B,) bool are reset in the step that ends them in `state`."""

    def about(self, state: TokenState, about: Mapping[int, About]) -> dict[str, Any]:
        """The infos of episodes, by row, that begin or have ended: their tasks, and who the users are who come back."""

    def segments(self, state: TokenState, cut: Sequence[int]) -> dict[str, Any]:
        """The infos of rows that have lost tokens: `segment` (B, L), their tokens as they were; 0 in other rows, as
        Gymnasium's own vector envs have it."""


class TensorOutput:
    """Tensors on the env's device. Observations are the env's own state, so they must not be written to."""

    def __init__(self, observer: Observer):
        self._observer = observer

    def observations(self, state: TokenState) -> Any:
        return self._observer.tensors(state)

    def numbers(self, rewards, terminated, truncated):
        return rewards.float(), terminated, truncated

    def nothing(self, state):
        rows, device = len(state.finish), state.finish.device
        terminated, truncated = (torch.zeros(rows, dtype=torch.bool, device=device) for _ in range(2))
        return torch.zeros(rows, device=device), terminated, truncated

    def infos(self, ends: Ends) -> dict[str, Any]:
        return tensor_infos(ends)

    def final(self, infos: dict[str, Any], ended: np.ndarray, state: TokenState) -> dict[str, Any]:
        mask = torch.from_numpy(ended).to(state.tokens.device)
        final = self.observations(state)
        return {"final_obs": final, "_final_obs": mask, "final_info": infos, "_final_info": mask.clone()}

    def about(self, state: TokenState, about: Mapping[int, About]) -> dict[str, Any]:
        infos, device = about_infos(about, len(state.finish)), state.finish.device
        return {key: v if v.dtype == object else torch.from_numpy(v).to(device) for key, v in infos.items()}

    def segments(self, state: TokenState, cut: Sequence[int]) -> dict[str, Any]:
        mask = torch.zeros_like(state.finish, dtype=torch.bool)
        mask[list(cut)] = True
        return {"segment": torch.where(mask.unsqueeze(1), state.tokens, 0), "_segment": mask}


class ArrayOutput:
    """Numpy arrays that belong to whoever asked for them."""

    def __init__(self, observer: Observer):
        self._observer, self._tensors = observer, TensorOutput(observer)

    def observations(self, state: TokenState) -> Any:
        return self._observer.arrays(state)

    def numbers(self, rewards, terminated, truncated):
        # Made in the step and kept by nobody: unlike the state they need not be copied.
        return tuple(made.numpy(force=True) for made in (rewards, terminated, truncated))

    def nothing(self, state):
        rows = len(state.finish)
        return np.zeros(rows), np.zeros(rows, dtype=bool), np.zeros(rows, dtype=bool)

    def infos(self, ends: Ends) -> dict[str, Any]:
        return array_infos(ends)

    def final(self, infos: dict[str, Any], ended: np.ndarray, state: TokenState) -> dict[str, Any]:
        observations = self.observations(state)
        array = np.full(len(ended), None, dtype=object)
        for row in np.flatnonzero(ended).tolist():
            array[row] = row_of(observations, row)
        return {"final_obs": array, "_final_obs": ended, "final_info": infos, "_final_info": ended.copy()}

    def about(self, state: TokenState, about: Mapping[int, About]) -> dict[str, Any]:
        return about_infos(about, len(state.finish))

    def segments(self, state: TokenState, cut: Sequence[int]) -> dict[str, Any]:
        told = self._tensors.segments(state, cut)
        told["segment"] = self._observer.media.in_vocabulary(told["segment"])
        return {key: value.numpy(force=True) for key, value in told.items()}


def make_output(kind: str, observer: Observer) -> Output:
    """The output of that name: "numpy" or "torch"."""
    return TensorOutput(observer) if kind == "torch" else ArrayOutput(observer)
