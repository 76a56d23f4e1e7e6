"""The pages in docs/ are those that the code makes today; only their scores come from a measurement."""

from __future__ import annotations

import re

import pytest

from benchmarks.docs_markdown import docstring, first_paragraph, signature, table
from benchmarks.docs_pages import DOCS, ENDS, pages, read_scores
from dyngen_env import rewards, users
from dyngen_env.mdp.state import FINISH_REASONS
from dyngen_env.registration import ENVS


@pytest.fixture(scope="module")
def made():
    return pages(read_scores())


def test_the_pages_are_up_to_date(made):
    """If this fails: python -m benchmarks.docs_pages."""
    found = {str(path.relative_to(DOCS)): path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")}
    written = {name: text for name, text in found.items() if not name.startswith("guides")}
    assert written.keys() == made.keys()
    assert [name for name, text in made.items() if text != written[name]] == []


def test_every_id_has_been_measured():
    agents = {name: set(scores) for name, scores in read_scores().items()}
    assert agents.keys() == ENVS.keys() and all(found >= {"random", "untrained"} for found in agents.values())


@pytest.mark.parametrize("page, module", [("rewards.md", rewards), ("users.md", users)])
def test_every_name_is_explained_and_the_table_leads_there(page, module, made):
    makers = (module.REWARDS if module is rewards else module.USERS) | module.WRAPPERS
    assert sorted(re.findall(r"^### (.*)$", made[page], re.MULTILINE)) == sorted(makers)
    assert re.findall(r"^\| \[(\w+)\]\(#\1\) \| .", made[page], re.MULTILINE) == sorted(makers)


@pytest.mark.parametrize("name", ENVS)
def test_the_example_of_a_page_runs(name, made, capsys):
    code = re.search(r"```python\n(.*?)```", made[f"environments/{name.removeprefix('dyngen/')}.md"], re.DOTALL)
    exec(compile(code[1], name, "exec"), {})
    printed = capsys.readouterr().out
    assert any(f" {reason} {{'" in printed for reason in ENDS)


def test_every_way_to_end_is_explained():
    assert set(ENDS) == set(FINISH_REASONS) - {""}


def test_links_lead_somewhere(made):
    for name, text in made.items():
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert ((DOCS / name).parent / target).exists(), f"{name} links to {target}"


def test_a_docstring_as_markdown():
    def thing(n):
        """What it is.

        More of it,
        in two lines.

        Args:
            n: a number that needs
                two lines. And
            other: text.

        Raises:
            ValueError: n < 0.
        """

    assert first_paragraph(thing) == "What it is."
    assert docstring(thing) == (
        "What it is.\n\nMore of it,\nin two lines.\n\n**Args:**\n\n- n: a number that needs two lines. And\n"
        "- other: text.\n\n**Raises:**\n\n- ValueError: n < 0."
    )


def test_a_signature_has_names_and_defaults():
    def thing(a, *words, n=2, text="x" * 31):
        pass

    assert signature(thing) == "(a, *words, n=2, text=...)"
    assert signature(lambda: None) == ""


def test_a_bar_in_a_table_is_no_new_cell():
    assert table(("a", "b"), [("x|y", "two\nlines")]) == "| a | b |\n| --- | --- |\n| x\\|y | two lines |"


def anchors(page):
    """What a link may name after "#": each heading in lower case, without punctuation, with hyphens for spaces."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


WRITTEN = [DOCS.parent / "README.md", *sorted((DOCS / "guides").glob("*.md"))]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_links_of_the_readme_and_the_guides_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8"))
    assert links
    for path, anchor in links:
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name}: {path}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {path}#{anchor}"
