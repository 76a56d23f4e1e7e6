"""The same person in several episodes of a row: in every mode, in any batch, in forks, as arrays and as tensors."""

from __future__ import annotations

import numpy as np
import pytest

from dyngen_env.testing import check_user
from dyngen_env.users import MutedUser, ReturningUser, SimulatedUser, make_user
from tests.support.envs import EOS, Somebody, batch, single, write

USER = "returning(simulated, episodes=3)"
TALK = dict(max_turns=2, max_context_tokens=120, prompts=["A"])


def visits(env, episodes, seed=None):
    """(person, visit, persona) of the next episodes of a single env."""
    seen = []
    for i in range(episodes):
        _, info = env.reset(seed=seed if i == 0 else None)
        talk = env.batch.dialogues[0]
        assert (info["person"], info["visit"]) == (talk.person, talk.visit)
        seen.append((talk.person, talk.visit, talk.persona.persona))
        ended = False
        while not ended:
            *_, terminated, truncated, last = write(env, "x", 258)
            ended = terminated or truncated
        assert (last["person"], last["visit"]) == (talk.person, talk.visit)
    return seen


def test_it_is_a_user():
    check_user(make_user(USER))
    check_user(MutedUser(ReturningUser(Somebody())))


def test_a_person_comes_three_times_and_then_somebody_else_does():
    seen = visits(single(user=USER, **TALK), 8, seed=0)
    people = [person for person, _, _ in seen]
    assert [visit for _, visit, _ in seen] == [1, 2, 3, 1, 2, 3, 1, 2]
    assert people == [people[0]] * 3 + [people[3]] * 3 + [people[6]] * 2 and len(set(people)) == 3
    wishes = {person: {p for q, _, p in seen if q == person} for person in people}
    assert all(len(of_person) == 1 for of_person in wishes.values())
    assert len(set.union(*wishes.values())) == 3


def test_a_seed_brings_somebody_new_and_the_same_one_again():
    env = single(user=USER, **TALK)
    first = visits(env, 2, seed=5)
    again = visits(env, 2, seed=5)
    assert first == again and visits(env, 1)[0][:2] == (first[0][0], 3)
    assert visits(env, 1, seed=6)[0][1] == 1


def test_the_first_episode_is_that_of_the_user_alone():
    personas = []
    for user in ("simulated", USER):
        env = batch(3, user=user, **TALK)
        env.reset(seed=0)
        personas.append([getattr(talk.persona, "persona", talk.persona) for talk in env.dialogues])
    assert personas[0] == personas[1]


def test_muted_people_come_back_as_well():
    """Their words are withheld, and they stay who they are."""
    heard, muted = (visits(single(user=u, **TALK), 4, seed=1) for u in (USER, f"muted({USER})"))
    assert heard == muted


@pytest.mark.parametrize("mode", ["next_step", "same_step"])
@pytest.mark.parametrize("output", ["numpy", "torch"])
def test_the_infos_of_a_batch(mode, output):
    """Each row's persons and visits are those of the single env with its seed."""
    alone = [[v[:2] for v in visits(single(user=USER, **TALK), 5, seed=7 + row)] for row in range(2)]
    env = batch(2, user=USER, autoreset_mode=mode, output=output, **TALK)
    _, infos = env.reset(seed=7)
    told = [[(int(infos["person"][row]), int(infos["visit"][row]))] for row in range(2)]
    assert infos["_person"].all() and infos["_visit"].all()
    rng = np.random.default_rng(0)
    for _ in range(200):
        actions = np.where(rng.random(2) < 0.4, EOS, 97)
        _, _, terminated, truncated, infos = env.step(actions if output == "numpy" else env.state.tokens.new(actions))
        ended = (terminated | truncated).tolist()
        for row in range(2):
            ends = infos.get("final_info", {}) if mode == "same_step" else infos
            if ended[row]:
                assert (int(ends["person"][row]), int(ends["visit"][row])) == told[row][-1] and ends["_person"][row]
            elif mode == "next_step" and "person" in infos and infos["_person"][row]:
                told[row].append((int(infos["person"][row]), int(infos["visit"][row])))
            if ended[row] and mode == "same_step":
                told[row].append((int(infos["person"][row]), int(infos["visit"][row])))
    assert [row[:5] for row in told] == alone


def test_a_fork_meets_the_same_people():
    env = single(user=USER, **TALK)
    visits(env, 2, seed=3)
    twin = env.fork()
    assert visits(env, 4) == visits(twin, 4)


def test_nobody_comes_back_to_those_who_have_no_such_user():
    env = single(user="simulated", **TALK)
    assert env.reset(seed=0)[1] == {} and env.batch.dialogues[0].person is None and env.batch.dialogues[0].visit == 1


@pytest.mark.parametrize("episodes", [0, 1.5, "3", True])
def test_how_often_a_person_can_come(episodes):
    with pytest.raises(ValueError, match="expected how often each person comes"):
        ReturningUser(SimulatedUser(), episodes)
