"""Prompts: from lists, files, the embedded reviews, and tasks of one's own."""

from __future__ import annotations

import numpy as np
import pytest

from dyngen_env import Example
from dyngen_env.tasks import Prompts, make_task, read_prompts
from tests.support.envs import batch, single


def texts(task):
    return [example.prompt for example in task.examples]


def test_a_text_file_has_a_prompt_a_line(tmp_path):
    file = tmp_path / "p.txt"
    file.write_bytes("\ufeffone\r\n\n  two  \né \u2028 three".encode())
    assert texts(read_prompts(str(file))) == texts(read_prompts(file)) == ["one", "two", "é \u2028 three"]


def test_a_jsonl_file_has_prompts_references_and_more(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "one"}\n\n{"prompt": "t\u2028wo ", "reference": "2", "level": 3}\n', encoding="utf-8")
    assert read_prompts(file).examples == (Example("one"), Example("t\u2028wo ", "2", {"level": 3}))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'prompt': 'x'}", "line 2: not JSON"),
        ('{"prompt": ', "line 2: not JSON"),
        ('"x"', 'line 2: expected {"prompt": "...", "reference": "..."}, got "x"'),
        ('{"text": "x"}', "line 2: expected"),
        ('{"prompt": 5}', "line 2: expected"),
        ('{"prompt": "x", "reference": 5}', "line 2: expected"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, message):
    file = tmp_path / "p.jsonl"
    file.write_text(f'{{"prompt": "fine"}}\n{line}\n')
    with pytest.raises(ValueError, match=message) as error:
        read_prompts(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(("name", "content"), [("p.txt", b""), ("p.txt", b"\n \n"), ("p.jsonl", b"\n")])
def test_an_empty_file_is_named(tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"no prompts in .*{name}: expected at least one"):
        single(prompts=str(file))


def test_a_file_that_is_no_text(tmp_path):
    file = tmp_path / "p.txt"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"p\.txt is not UTF-8 text"):
        read_prompts(file)


@pytest.mark.parametrize("name", ["p.csv", "p"])
def test_other_files(tmp_path, name):
    (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match=r"expected \.txt or \.jsonl"):
        read_prompts(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no prompts file"):
        read_prompts(tmp_path / "q.txt")


def test_splits_are_80_10_10_and_share_nothing():
    prompts = [f"prompt {i}" for i in range(5000)]
    parts = {split: texts(read_prompts(prompts, split)) for split in ("train", "tune", "eval")}
    assert sorted(p for part in parts.values() for p in part) == sorted(prompts) == sorted(texts(read_prompts(prompts)))
    assert [round(len(part) / 5000, 1) for part in parts.values()] == [0.8, 0.1, 0.1]
    with pytest.raises(ValueError, match=r"no prompt of the list of prompts \(1 in all\) falls into split 'eval'"):
        read_prompts([parts["train"][0]], "eval")


def test_the_embedded_reviews_are_split_too():
    train, evaluation = read_prompts(None), read_prompts(None, "eval")
    assert texts(train) == texts(read_prompts(None, "train"))
    assert not set(texts(train)) & set(texts(evaluation)) and len(texts(evaluation)) > 100


def test_an_example_is_drawn_with_the_uniform_that_is_given():
    task = Prompts([Example(p) for p in "abcd"])
    assert task.pick(np.array([0, 0.2499, 0.25, 0.9999999999999999])).tolist() == [0, 0, 1, 3]
    assert task.sample(np.random.default_rng(0)) in task.examples
    with pytest.raises(ValueError, match="expected at least one"):
        Prompts([])


class Sums:
    """A task that cannot be listed."""

    def sample(self, rng):
        a, b = rng.integers(1000, size=2)
        return Example(f"{a}+{b}=", reference=str(a + b))


def test_a_task_of_ones_own():
    assert make_task(task := Sums()) is task
    one, many = single(prompts=Sums()), batch(3, prompts=Sums())
    one.reset(seed=5), many.reset(seed=4)
    assert one.batch.examples[0] == many.examples[1] and many.examples[0] != many.examples[1]
    first = [many.examples]
    many.reset(options={"prompt": "1+1="})
    many.reset()
    again = batch(3, prompts=Sums())
    again.reset(seed=4), again.reset()
    assert first[0] != many.examples
    again.reset()
    assert again.examples == many.examples
    with pytest.raises(ValueError, match='Sums has no list of examples: use the option "prompt"'):
        one.reset(options={"example": 0})
