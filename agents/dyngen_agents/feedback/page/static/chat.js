// The chat: one dialogue, its turns, and what one can say about each.
import { ask, attempt, begin, button, byId, make, newKey, tell } from "./common.js";
import { prepared } from "./spans.js";
import { aloud, microphone } from "./speech.js";
import { drawn, say } from "./turn.js";

const talk = byId("talk"), message = byId("message");
let current = null;  // the dialogue that is shown: {id, turns, pair}
let streams = [];    // {key, source} of the answers that are being written

const me = await attempt(begin);

// ---------------------------------------------------------------- settings

const settings = JSON.parse(localStorage.getItem("settings") || "{}");
const temperature = byId("temperature"), longest = byId("longest"), banned = byId("banned");
temperature.value = settings.temperature ?? me.settings.temperature;
longest.max = me.settings.most_new_tokens;
longest.value = Math.min(settings.longest ?? me.settings.max_new_tokens, longest.max);
banned.value = settings.banned ?? "";
function remember() {
  byId("temperature-now").textContent = Number(temperature.value).toFixed(2);
  const now = { temperature: temperature.value, longest: longest.value, banned: banned.value };
  localStorage.setItem("settings", JSON.stringify(now));
}
for (const input of [temperature, longest, banned]) input.addEventListener("input", remember);
remember();

const wanted = () => ({
  temperature: Number(temperature.value),
  max_new_tokens: Math.max(1, Math.min(Number(longest.value) || 1, Number(longest.max))),
  banned: banned.value.split(",").map((word) => word.trim()).filter(Boolean),
});

// ---------------------------------------------------------------- which dialogue

async function list() {
  const { dialogues } = await ask("/api/dialogues");
  byId("dialogues").replaceChildren(...dialogues.map(({ id, title }) => {
    const item = make("li"), open = button(title || "…", () => attempt(() => show(id)));
    if (current?.id === id) open.setAttribute("aria-current", "true");
    open.title = title;
    item.append(open);
    return item;
  }));
  return dialogues;
}

async function show(id) {
  leave();
  const dialogue = id === null ? { id: null, turns: [], pair: [], writing: [] } : await ask(`/api/dialogues/${id}`);
  current = dialogue;
  history.replaceState(null, "", id === null ? "/" : `/#${id}`);
  draw();
  for (const [i, key] of dialogue.writing.entries()) follow(key, dialogue.writing.length > 1, i);
  await list();
}

function draw() {
  talk.replaceChildren(...current.turns.map(shown));
  if (current.pair.length) talk.append(choice(current.pair));
  if (!current.turns.length) {
    const empty = make("div", "empty");
    empty.append(make("h1", "", `Hello, ${me.person}`),
      make("p", "", "Say something to the model, and tell it what you think of its answers."));
    talk.append(empty);
  }
  const last = current.turns.at(-1);
  if (last?.role === "user" && !current.pair.length && !current.writing.length) {
    const missing = make("div", "turn agent");
    missing.append(make("p", "muted", "This has not been answered."), button("Answer it", () => rewrite(last.id, "")));
    talk.append(missing);
  }
  talk.scrollTop = talk.scrollHeight;
}

/** A turn with what can be done with it in its place. */
function shown(turn) {
  const { turns } = current, before = turns[turns.indexOf(turn) - 1];
  const again = turn === turns.at(-1) && before ? (wish) => rewrite(before.id, wish) : null;
  return drawn(turn, { learns: me.learns, again, why });
}

function why(turn) {
  byId("why-frame").src = `/why/${turn.id}`;
  byId("why").showModal();
}
byId("why-close").addEventListener("click", () => byId("why").close());
byId("why").addEventListener("close", () => { byId("why-frame").src = "about:blank"; });

// ---------------------------------------------------------------- two answers

function choice(pair) {
  const box = make("div", "pair");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Two answers: choose one");
  pair.forEach((turn, i) => {
    const article = make("article", "turn agent"), text = make("div", "text");
    text.dir = "auto";
    text.append(...prepared(turn.text, [], true));
    article.setAttribute("aria-label", i ? "Second answer" : "First answer");
    const choose = make("div", "tools choose");
    choose.append(button(i ? "The second is better" : "The first is better", () => attempt(async () => {
      await say("preference", [turn.id, pair[1 - i].id], null);
      await show(current.id);
      message.focus();
    })));
    article.append(text, choose);
    box.append(article);
  });
  return box;
}

// ---------------------------------------------------------------- answers that are being written

function busy(is) {
  byId("send").hidden = is;
  byId("stop").hidden = !is;
  talk.setAttribute("aria-busy", String(is));
}

function leave() {
  for (const { source } of streams) source.close();
  streams = [];
  busy(false);
}

/** Show an answer while it is written. */
function follow(key, several, place) {
  let box = talk;
  if (several) {
    box = talk.querySelector(".pair.now");
    if (!box) {
      box = make("div", "pair now");
      talk.append(box);
    }
  }
  const article = make("article", "turn agent writing"), text = make("div", "text");
  text.dir = "auto";
  article.setAttribute("aria-label", several ? `Answer ${place + 1}, being written` : "The answer, being written");
  article.append(text);
  box.append(article);
  const source = new EventSource(`/api/writing/${key}`), stream = { key, source, text: "" };
  streams.push(stream);
  busy(true);
  byId("status").textContent = "The model is writing.";
  source.addEventListener("piece", (event) => {
    const low = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80;
    stream.text += JSON.parse(event.data);
    text.textContent = stream.text.trimStart();
    if (low) talk.scrollTop = talk.scrollHeight;
  });
  source.addEventListener("end", (event) => {
    source.close();
    const outcome = JSON.parse(event.data);
    article.classList.remove("writing");
    if (outcome.error) tell(outcome.error, 8);
    else {
      byId("status").textContent = outcome.text;
      if (!several) aloud(outcome.text);
    }
    streams = streams.filter((other) => other !== stream);
    if (!streams.length) attempt(() => show(current.id));
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) attempt(() => show(current.id));
  });
  talk.scrollTop = talk.scrollHeight;
}

/** Have the last message answered again, or at all. */
async function rewrite(user, wish) {
  await attempt(async () => {
    const { writing } = await ask(`/api/dialogues/${current.id}/answers`, {
      after: user, wish, settings: wanted(), two: byId("two").checked, key: newKey(),
    });
    const last = current.turns.at(-1);
    if (last.role === "agent") talk.querySelector(`[data-turn="${last.id}"]`)?.remove();
    else talk.lastElementChild.remove();
    writing.forEach((key, i) => follow(key, writing.length > 1, i));
  });
}

// ---------------------------------------------------------------- the message

let unsent = { text: "", key: "" };  // a second attempt to send the same has the same key, and is done only once

byId("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = message.value;
  if (!text.trim() || streams.length) return;
  if (current.pair.length) return tell("Choose one of the two answers first.");
  if (unsent.text !== text) unsent = { text, key: newKey() };
  attempt(async () => {
    if (current.id === null) Object.assign(current, await ask("/api/dialogues", { key: newKey() }));
    const last = current.turns.at(-1);
    const { turn, writing } = await ask(`/api/dialogues/${current.id}/messages`, {
      text, after: last?.id ?? null, settings: wanted(), two: byId("two").checked, key: unsent.key,
    });
    unsent = { text: "", key: "" };
    message.value = "";
    history.replaceState(null, "", `/#${current.id}`);
    talk.querySelector(".empty")?.remove();
    for (const box of talk.querySelectorAll(".panel")) box.remove();
    if (!writing.length) return show(current.id);
    current.turns.push(turn);
    talk.append(shown(turn));
    writing.forEach((key, i) => follow(key, writing.length > 1, i));
    return undefined;
  });
});
message.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId("compose").requestSubmit();
  }
});
if (me.hears) {
  microphone((text) => {
    message.value = `${message.value} ${text}`.trim();
    message.focus();
  });
}
byId("aloud-label").hidden = !window.speechSynthesis;
byId("stop").addEventListener("click", () => {
  for (const { key } of streams) attempt(() => ask(`/api/writing/${key}/stop`, {}));
});
byId("new").addEventListener("click", () => attempt(async () => {
  await show(null);
  message.focus();
}));
byId("toggle").addEventListener("click", () => {
  const open = byId("side").classList.toggle("open");
  byId("toggle").setAttribute("aria-expanded", String(open));
});

await attempt(async () => {
  const mine = (await list()).map(({ id }) => id);
  const named = Number(location.hash.slice(1));
  await show(mine.includes(named) ? named : mine[0] ?? null);
  message.focus();
});
