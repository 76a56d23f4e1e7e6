"""The pages in docs/ that are made from the code: every environment, reward and user, and a list of all pages.

python -m benchmarks.docs_pages                                   # anew from the code; scores stay as they are
python -m benchmarks.docs_pages --measure --trained runs/a runs/b # and measure what agents earn (minutes)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym

import dyngen_env
from benchmarks.docs_markdown import docstring, first_paragraph, signature, table
from benchmarks.docs_scores import EPISODES, trained_scores, untrained_scores
from dyngen_env import rewards, users
from dyngen_env.envs.keywords import field_docs
from dyngen_env.envs.mixture.ids import task_ids
from dyngen_env.envs.options import OF_EACH_TASK, VectorEnvOptions, keywords_of
from dyngen_env.registration import ENVS, RegisteredEnv
from dyngen_env.rewards.of_task import OfTask

DOCS = Path(__file__).parents[1] / "docs"
SCORES = "environments/scores.json"
NATIVE = ("num_envs", "autoreset_mode")  # keywords of `gym.make_vec` alone

ENDS = {
    "stop": "the agent chose a token that ends its turn, or wrote a stop string",
    "length": "`max_new_tokens` are used up",
    "illegal": "the agent chose a token that is not legal",
    "turns": "`max_turns` turns are done",
    "user": "the user ended the dialogue without having got what they wanted",
    "goal": "the user got what they wanted",
    "steps": "`max_episode_steps` are used up (truncated)",
    "context": "the context cannot hold the user's answer and a token more (terminated and truncated)",
}
ALONE = ("stop", "length", "illegal", "steps")  # how episodes end where no user answers
TALKING = ("turns", "user", "goal", "illegal", "context", "steps")  # and where one does

Makers = Mapping[str, Callable[..., Any]]


def pages(scores: Mapping[str, Any]) -> dict[str, str]:
    """All pages by their paths in docs/.

    Args:
        scores: by id, then by agent, as `docs_scores.scored` gives them.
    """
    environments = {
        f"environments/{_file(name)}": environment_page(name, env, scores.get(name, {})) for name, env in ENVS.items()
    }
    return {
        "README.md": index(),
        **environments,
        "rewards.md": names_page(
            "Rewards", _REWARDS, {"By name": rewards.REWARDS, "Around other rewards": rewards.WRAPPERS}
        ),
        "users.md": names_page("Users", _USERS, {"By name": users.USERS, "Around other users": users.WRAPPERS}),
    }


def index() -> str:
    """The list of pages."""
    lines = [f"- [{name}](environments/{_file(name)}): {env.about}" for name, env in ENVS.items()]
    return "\n".join(
        [
            "# Documentation",
            "",
            *lines,
            "- [Rewards](rewards.md) and [users](users.md) by name, with their arguments.",
            *(f"- [{_title(path)}](guides/{path.name})" for path in sorted((DOCS / "guides").glob("*.md"))),
            "",
            "All but the guides are made from the code by `python -m benchmarks.docs_pages`. What the package is and",
            "how to start: [README](../README.md). What changed: [CHANGELOG](../CHANGELOG.md).",
            "",
        ]
    )


def _title(path: Path) -> str:
    """The first heading of a page that somebody has written."""
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def environment_page(name: str, env: RegisteredEnv, scores: Mapping[str, Any]) -> str:
    """The page of one id."""
    made: Any = gym.make(name).unwrapped
    batch = made.batch
    answers = batch.user.answers
    sections = [
        f"# {name}",
        env.about,
        table(
            ("", ""),
            [
                ("Action space", f"`{made.action_space}`: the next token, one of `{batch.model}`'s"),
                ("Observation space", f"`{made.observation_space}`: the tokens so far, -1 where empty"),
                ("Reward", _of_tasks(env, "reward") or f"`{env.keywords['reward']}`"),
                ("User", _of_tasks(env, "user") or (f"`{env.keywords['user']}`" if answers else "nobody answers")),
                ("Import", f'`import dyngen_env`, then `gym.make("{name}")` or `gym.make_vec("{name}", num_envs=64)`'),
            ],
        ),
        "## Example",
        _example(name),
        "## What is paid",
        table(
            ("term", "times", "what it is"),
            [
                (
                    f"`{part.name}`",
                    f"{scale:.3g}",
                    first_paragraph(type(part.inner if isinstance(part, OfTask) else part)),
                )
                for scale, part in batch.reward.terms()
            ],
        ),
        "All rewards by name: [rewards](../rewards.md).",
        *(_who_answers(env, batch.user) if answers else ()),
        "## How an episode ends",
        table(
            ("`finish_reason`", "when"),
            [(f"`{reason}`", why) for reason, why in ENDS.items() if reason in _ends(env, answers)],
        ),
        "## Keywords",
        "Of `gym.make` and `gym.make_vec`; the last two of `gym.make_vec` alone. "
        + ("" if "prompts" in env.keywords else _OF_IDS if "tasks" in env.keywords else _WITHOUT),
        table(("keyword", "default", "meaning"), _keywords(env)),
        "## Scores",
        _scores(scores),
        "## Versions",
        "\n".join(f"- {version}: {change}" for version, change in env.history.items()),
    ]
    return "\n\n".join(sections) + "\n"


def names_page(title: str, about: str, groups: Mapping[str, Makers]) -> str:
    """A page of things that expressions can name: first all in a table, then each with its arguments and errors.

    Args:
        groups: what can be named, by the headings to put them under.
    """
    every = sorted((name, maker) for makers in groups.values() for name, maker in makers.items())
    overview = table(("name", "what it is"), [(f"[{name}](#{name})", first_paragraph(maker)) for name, maker in every])
    sections = [f"# {title}", about, overview]
    for heading, makers in groups.items():
        sections.append(f"## {heading}")
        for name, maker in sorted(makers.items()):
            sections += [f"### {name}", f"`{name}{signature(maker)}`", docstring(maker)]
    return "\n\n".join(sections) + "\n"


_REWARDS = """\
By name on the command line and in Python: `--reward "sentiment + 0.1*fluency - 0.5*keywords('plot')"`. Sums,
differences, products and multiples are rewards, too. One's own is a function, which gets its arguments by name (`text`,
`prompt`, `reference`, `example`, `dialogue`), or a `Reward`: from Python as it is, on the command line as
`--reward mine.py:name`."""

_USERS = """\
By name on the command line and in Python: `--user simulated`, `user="muted(simulated(wants=2))"`. One's own is an
object like `dyngen_env.users.User`: from Python as it is, on the command line as `--user mine.py:Name`."""


_WITHOUT = (
    "Without `model`, `tokenizer` and `prompts` the env has the tokenizer of reviews-lm, and its prompts are "
    "beginnings of film reviews."
)


_OF_IDS = f"Of a mixture its ids have {', '.join(f'`{name}`' for name in OF_EACH_TASK)}, each its own."


def _who_answers(env: RegisteredEnv, user: Any) -> tuple[str, ...]:
    named = _of_tasks(env, "user") or f"`{env.keywords['user']}`: {first_paragraph(type(user))}"
    return "## Who answers", named, "All users by name: [users](../users.md)."


def _ends(env: RegisteredEnv, answers: bool) -> tuple[str, ...]:
    """How episodes of an env may end: of a mixture some tasks may have a user and others none."""
    return TALKING + ALONE if "tasks" in env.keywords else TALKING if answers else ALONE


def _of_tasks(env: RegisteredEnv, keyword: str) -> str:
    """What the ids of a mixture have of a keyword, each for itself; empty for an env of one task."""
    ids = task_ids(env.keywords["tasks"]) if "tasks" in env.keywords else []
    return "; ".join(f"{task.label}: " + (f"`{own}`" if (own := task.own(keyword)) else "nobody") for task in ids)


def _example(name: str) -> str:
    return f"""```python
import gymnasium as gym
import dyngen_env

env = gym.make("{name}", render_mode="ansi")
observation, info = env.reset(seed=0)
env.action_space.seed(0)
over = False
while not over:  # any legal token
    action = env.action_space.sample(mask=env.unwrapped.action_masks().astype("int8"))
    observation, reward, terminated, truncated, info = env.step(action)
    over = terminated or truncated
print(env.render(), info["finish_reason"], info["reward_terms"])
```"""


def _keywords(env: RegisteredEnv) -> Iterable[tuple[str, str, str]]:
    known, docs = keywords_of(VectorEnvOptions), field_docs(VectorEnvOptions)
    for name in sorted(known, key=lambda name: name in NATIVE):
        default = env.keywords.get(
            name, None if "tasks" in env.keywords and name in OF_EACH_TASK else known[name].default
        )
        yield f"`{name}`", f"`{getattr(default, 'name', None) or repr(default)}`", docs[name]


def _scores(scores: Mapping[str, Any]) -> str:
    rows, samples = [], []
    for agent in ("random", "untrained", "trained"):
        if agent in scores:
            s = scores[agent]
            ends = ", ".join(f"{reason} {share:.0%}" for reason, share in s["ends"].items())
            mean = f"{s['return']:.3f} ± {s['ci95']:.3f}"
            rows.append((f"**{agent}**: {s['agent']}", mean, f"{s['tokens']:.1f}", ends))
            samples.append((agent, s["prompt"], s["text"]))
    return (
        f"Mean return of {EPISODES} episodes with half of its 95% interval, on prompts that are held out from "
        "training, at temperature 1.\n\n"
        + table(("agent", "return", "tokens", "ends"), rows)
        + "\n\nThe first episode of each; a user's turns in brackets, with their rating:\n\n"
        + table(("agent", "prompt", "completion"), samples)
    )


def _file(name: str) -> str:
    return name.removeprefix("dyngen/") + ".md"


def read_scores() -> dict[str, Any]:
    """The scores that were measured last, by id and agent."""
    path = DOCS / SCORES
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def main() -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure random and untrained agents")
    parser.add_argument("--trained", nargs="+", default=[], help="folders of runs: measure their agents")
    options = parser.parse_args()
    scores = read_scores()
    for name in ENVS if options.measure else ():
        print(f"measuring {name}")
        scores.setdefault(name, {}).update(untrained_scores(name))
    for run in options.trained:
        print(f"measuring {run}")
        name, found = trained_scores(run)
        scores.setdefault(name, {})["trained"] = found
    (DOCS / "environments").mkdir(parents=True, exist_ok=True)
    (DOCS / SCORES).write_text(json.dumps(scores, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for path, text in pages(scores).items():
        (DOCS / path).write_text(text, encoding="utf-8")
    print(f"see {DOCS}; dyngen-env {dyngen_env.__version__}")


if __name__ == "__main__":
    main()
