"""Word errors, counted by hand."""

import pytest

from dyngen_env.scoring.word_errors import word_errors


@pytest.mark.parametrize(
    "said, heard, errors, words",
    [
        ("shorter, please.", "Shorter please", 0, 2),
        ("what about the acting?", "what about acting", 1, 4),  # a deletion
        ("what about the acting?", "what a bout the acting", 2, 4),  # a substitution and an insertion
        ("is it funny?", "it is funny", 2, 3),
        ("be brief.", "", 2, 2),
        ("", "hello there", 2, 0),
    ],
)
def test_word_errors(said, heard, errors, words):
    assert word_errors(said, heard) == (errors, words)
