"""One grammar for rewards and users: literals, names, calls, wrappers and, where asked for, arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest

from dyngen_env.expressions import Grammar

# "Objects" are tuples or fractions, so that what was built can be compared with what Python itself builds.
PLAIN = Grammar("thing", {"leaf": lambda *args, **named: ("leaf", args, named)}, {"box": lambda inner: ("box", inner)})
SUMS = Grammar("thing", {"half": lambda n=1: Fraction(n, 2)}, {"twice": lambda inner: 2 * inner}, arithmetic=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("leaf", ("leaf", (), {})),
        (" leaf(1, [2.5, None], word='x', table={'a': (-1, True)}) ",
         ("leaf", (1, [2.5, None]), {"word": "x", "table": {"a": (-1, True)}})),
        ("box(box(leaf(3)))", ("box", ("box", ("leaf", (3,), {})))),
        ("box(inner=leaf)", ("box", ("leaf", (), {}))),
        ("box('leaf')", ("box", "leaf")),
    ],
)  # fmt: skip
def test_names_and_calls(text, expected):
    assert PLAIN.parse(text) == expected


@pytest.mark.parametrize("text", ["half + half(3)*2 - 0.25", "-(half - 3)/4", "twice(half + 1)*half(-5)", "2*3 - 1e-3"])
def test_arithmetic_means_what_python_means(text):
    known = {"half": Fraction(1, 2), "twice": SUMS.wrappers["twice"]}
    python = text.replace("half(3)", "Fraction(3, 2)").replace("half(-5)", "Fraction(-5, 2)")
    assert float(SUMS.parse(text)) == pytest.approx(float(eval(python, {"Fraction": Fraction}, known)))


WRONG = [
    ("leaf(", "thing 'leaf\\(' is not an expression"),
    ("", "is not an expression"),
    ("leaf\0", "is not an expression"),
    ("leav", "unknown thing 'leav' in 'leav': expected one of leaf; or around one box"),
    ("leav(leaf)", "unknown thing 'leav'"),
    ("box(leav)", "unknown thing 'leav' in 'box\\(leav\\)'"),
    ("__import__('os')", "unknown thing '__import__'"),
    ("leaf(leaf)", "arguments of leaf must be literals, which 'leaf' is not"),
    ("leaf({[]: 1})", "arguments of leaf must be literals"),
    ("leaf(*['a'])", "arguments of leaf must be literals"),
    ("box(leaf, leaf)", "wrong arguments for box"),
    ("leaf.name", "cannot read 'leaf.name'; expected a name or a call of one"),
    ("leaf()()", "cannot read"),
    ("(lambda: 1)()", "cannot read"),
    ("1", "cannot read '1'"),
    ("leaf + leaf", "cannot read"),
]
WRONG_SUMS = [
    ("half ** 2", "cannot read 'half \\*\\* 2'; expected names, calls with literals, numbers"),
    ("half / half", "cannot read"),
    ("half / 0", "cannot read"),
    ("'half'", "cannot read"),
    ("True * half", "cannot read"),
    ("1e999 * half", "cannot read"),
    ("1" + "0" * 400 + " * half", "cannot read"),
    ("half / 1" + "0" * 400, "cannot read"),
    ("1j", "cannot read"),
    ("-" * 100_000 + "half", "nested too deeply"),
    ("half" + " + half" * 100_000, "nested too deeply"),
]


@pytest.mark.parametrize(
    ("grammar", "text", "message"), [*((PLAIN, *wrong) for wrong in WRONG), *((SUMS, *wrong) for wrong in WRONG_SUMS)]
)
def test_what_cannot_be_read_is_named(grammar, text, message):
    with pytest.raises(ValueError, match=message):
        grammar.parse(text)
