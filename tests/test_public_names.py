"""The names that users may rely on: what the README and the examples import, and nothing else of ours."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import dyngen_agents
import dyngen_env

ROOT = Path(__file__).parents[1]
PUBLIC = (
    "dyngen_agents",
    "dyngen_agents.feedback.live",
    "dyngen_agents.feedback.store",
    "dyngen_agents.sb3",
    "dyngen_agents.sb3.maskable",
    "dyngen_agents.trl",
    "dyngen_env",
    "dyngen_env.lm",
    "dyngen_env.lm.modalities",
    "dyngen_env.rewards",
    "dyngen_env.scoring.worlds.maze",
    "dyngen_env.tasks",
    "dyngen_env.testing",
    "dyngen_env.text",
    "dyngen_env.text.media",
    "dyngen_env.users",
    "dyngen_env.wrappers",
)
# What the design promises by name; more may be public.
PROMISED = {
    "dyngen_agents": "train evaluate TrainConfig PPOConfig REINFORCEConfig GRPOConfig CausalLMPolicy Actor Reference "
    "collect Trajectories open_run __version__",
    "dyngen_env": "TextGenEnv TextGenVectorEnv Dialogue Example Feedback Transition __version__",
    "dyngen_env.lm": "load_model load_tokenizer generate Engine sample greedy TokenDistribution SamplingConfig",
}


def our_imports(code: str, where: str) -> list[tuple[str, str, str]]:
    """(where, module, name) for each name of our packages that Python code imports; "" for a module as a whole."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            found += [(where, node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(where, alias.name, "") for alias in node.names]
    return [entry for entry in found if entry[1].split(".")[0] in ("dyngen_agents", "dyngen_env")]


def shown_imports() -> list[tuple[str, str, str]]:
    """What the examples, the README and the guides import, in blocks of Python and between backquotes."""
    found = []
    for path in sorted((ROOT / "examples").glob("*.py")):
        found += our_imports(path.read_text(encoding="utf-8"), path.name)
    for page in (ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))):
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
        lines = re.findall(r"`((?:from|import) [^`]+)`", text)
        for code in (*blocks, *lines):
            found += our_imports(code, page.name)
    return found


def test_the_readme_and_the_examples_import_public_names_only():
    shown = shown_imports()
    assert len(shown) > 20 and {"README.md", "tools.md"} <= {where for where, _, _ in shown}
    private = [
        (where, module, name)
        for where, module, name in shown
        if module not in PUBLIC or (name and name not in importlib.import_module(module).__all__)
    ]
    assert private == []


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_exists_and_says_what_it_is(module):
    if module == "dyngen_agents.sb3.maskable":
        pytest.importorskip("sb3_contrib")
    public = importlib.import_module(module)
    names = public.__all__
    assert sorted(set(names)) == sorted(names)
    silent = [name for name in names if callable(getattr(public, name)) and not getattr(public, name).__doc__]
    assert silent == []
    missing = set(PROMISED.get(module, "").split()) - set(names)
    assert missing == set()


LAZY = pytest.mark.parametrize("package", [dyngen_agents, dyngen_env], ids=lambda package: package.__name__)


@LAZY
def test_type_checkers_see_the_names_that_load_lazily(package):
    """`__all__`, the imports under TYPE_CHECKING and the table of modules say the same."""
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    [block] = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    typed = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        typed.update({alias.name: (node.module or "").removeprefix(f"{package.__name__}.") for alias in node.names})
    assert typed.pop("__version__", "dyngen_env") == "dyngen_env"
    assert typed == package._DEFINED_IN
    assert {*typed, "__version__"} == set(package.__all__)
    assert set(package.__all__) <= set(dir(package))


def test_the_parts_of_the_package_are_its_attributes():
    assert dyngen_env.rewards is importlib.import_module("dyngen_env.rewards")
    below = {path.stem for path in (ROOT / "dyngen_env").iterdir() if not path.name.startswith("_")}
    assert {part for part in dyngen_env._PARTS if part in dir(dyngen_env)} <= below
    assert {module.split(".")[1] for module in PUBLIC if module.startswith("dyngen_env.")} <= set(dyngen_env._PARTS)


@LAZY
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'trian'"):
        _ = package.trian


def test_both_packages_have_one_version():
    assert dyngen_agents.__version__ == dyngen_env.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", dyngen_env.__version__)
