"""Devices: one check for envs, models, users and the command, and an error that says what is wrong."""

import pytest
import torch

from dyngen_env.arguments import named_device, usable_device
from dyngen_env.lm.encoder import MeanHiddenState
from dyngen_env.lm.loading.models import load_model
from dyngen_env.users import LMUser
from dyngen_env.wrappers import TopKActions
from tests.support.envs import single


@pytest.mark.parametrize("name", ["cpu", torch.device("cpu"), None])
def test_the_cpu_is_usable(name):
    assert usable_device(name) == torch.device("cpu")


WHO = {
    "usable_device": usable_device,
    "an env": lambda device: single(device=device),
    "a model": lambda device: load_model("reviews-lm", device=device),
    "a model of one's own": lambda device: load_model("reviews-lm", device=device, fresh=True),
    "an encoder": lambda device: MeanHiddenState("reviews-lm", device=device).encode(["a"]),
    "a user": lambda device: LMUser("reviews-lm", device=device)._write([[1]], torch.zeros(1, 24).numpy()),
    "a wrapper": lambda device: TopKActions(single(tokenizer=None, model="reviews-lm"), "reviews-lm", device=device),
}


@pytest.mark.parametrize("use", WHO.values(), ids=WHO)
def test_an_unknown_device_is_a_value_error(use):
    with pytest.raises(ValueError, match=r"device='tpu9' is no device of torch: expected cpu, cuda"):
        use("tpu9")


@pytest.mark.parametrize("use", WHO.values(), ids=WHO)
@pytest.mark.parametrize("device", ["cuda:77", "xpu", "meta"])
def test_a_device_that_is_not_here_is_a_value_error_of_one_line(use, device):
    with pytest.raises(ValueError, match=rf"device='{device}' is not available here: ") as error:
        use(device)
    assert "\n" not in str(error.value)


def test_a_device_can_be_named_before_it_is_used():
    assert named_device("cuda:1") == torch.device("cuda:1")
    for name in ("tpu9", "", 1.5, ["cpu"]):
        with pytest.raises(ValueError, match="no device of torch"):
            named_device(name)
