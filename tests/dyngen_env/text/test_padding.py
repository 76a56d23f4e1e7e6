"""Lists of ids as one tensor."""

import pytest
import torch

from dyngen_env.text.padding import pad_rows


def test_rows_are_padded_on_the_right():
    padded = pad_rows([[1, 2, 3], [], [0]])
    assert padded.dtype == torch.int64
    assert padded.tolist() == [[1, 2, 3], [-1, -1, -1], [0, -1, -1]]
    assert pad_rows([[7]], width=3, fill=0).tolist() == [[7, 0, 0]]


@pytest.mark.parametrize(("rows", "width", "shape"), [([], None, (0, 0)), ([], 4, (0, 4)), ([[], []], 2, (2, 2))])
def test_no_ids_at_all(rows, width, shape):
    padded = pad_rows(rows, width)
    assert padded.shape == shape and padded.dtype == torch.int64 and (padded == -1).all()


def test_a_row_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="a row has 3 ids, expected at most width=2"):
        pad_rows([[1], [1, 2, 3]], width=2)
