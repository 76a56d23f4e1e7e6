"""The value head: as a linear layer until it is rescaled, and rescaling changes no value."""

import torch
from torch import nn

from dyngen_agents.policy.value_head import ValueHead


def taught_head() -> ValueHead:
    head = ValueHead(6)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nn.init.normal_(head.weight)
        nn.init.normal_(head.bias)
    return head


HIDDEN = torch.randn(5, 3, 6, generator=torch.Generator().manual_seed(1))


def test_it_is_zero_at_first_and_a_linear_layer_bit_for_bit():
    assert not ValueHead(6)(HIDDEN).any()
    head = taught_head()
    assert torch.equal(head(HIDDEN), nn.functional.linear(HIDDEN, head.weight, head.bias))


def test_other_units_leave_every_value_as_it_is():
    head = taught_head()
    before = head(HIDDEN)
    for mean, std in ((3.0, 10.0), (-200.0, 0.01), (0.0, 1.0)):
        head.rescale(mean, std)
        assert (float(head.mean), float(head.std)) == (mean, torch.tensor(std).item())
        torch.testing.assert_close(head(HIDDEN), before, atol=1e-3, rtol=1e-4)


def test_a_head_that_begins_at_a_mean_says_it_everywhere():
    head = ValueHead(6)
    head.begin_at(7.0, 2.0)
    assert (head(HIDDEN) == 7).all()


def test_the_buffers_keep_their_place_and_travel_with_the_weights():
    head = taught_head()
    places = [tensor.data_ptr() for tensor in head.state_dict().values()]
    head.rescale(3.0, 10.0)
    assert [tensor.data_ptr() for tensor in head.state_dict().values()] == places
    other = ValueHead(6)
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(HIDDEN), head(HIDDEN))
