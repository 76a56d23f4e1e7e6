// The chat: one dialogue, its turns, and what one can say about each.
import { ask, attempt, begin, button, byId, make, newKey, signed, tell } from "./common.js";
import { points, prepared } from "./spans.js";

const RESTED = 600;  // milliseconds after which a slider counts as set

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
  talk.replaceChildren(...current.turns.map(drawn));
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
    missing.append(make("p", "muted", "This has not been answered."), button("Answer it", () => again(last.id)));
    talk.append(missing);
  }
  talk.scrollTop = talk.scrollHeight;
}

// ---------------------------------------------------------------- turns

function drawn(turn) {
  const article = make("article", `turn ${turn.role}`), text = make("div", "text");
  article.dataset.turn = turn.id;
  article.setAttribute("aria-label", turn.role === "user" ? "You" : "The model");
  text.dir = "auto";
  text.append(...prepared(turn.correction ?? turn.text, turn.correction === null ? turn.spans : [], turn.role === "agent"));
  article.append(text);
  if (turn.role === "agent") {
    article.append(about(turn));
    article.append(tools(turn, article));
  }
  return article;
}

function about(turn) {
  const line = make("div", "about muted");
  if (turn.correction !== null) line.append(make("span", "", "as you have edited it"));
  if (turn.drafts > 1) line.append(make("span", "", `draft ${turn.drafts}`));
  if (turn.finish === "length") line.append(make("span", "", "cut off at the longest answer"));
  if (turn.finish === "stopped") line.append(make("span", "", "stopped"));
  if (me.learns && turn.version) line.append(make("span", "", `by ${turn.version}`));
  return line;
}

function thumb(turn, value, label) {
  const up = button("", () => attempt(async () => {
    await say("thumbs", [turn.id], value);
    turn.thumbs = value;
    for (const other of up.parentElement.querySelectorAll(".thumb")) other.setAttribute("aria-pressed", "false");
    up.setAttribute("aria-pressed", "true");
  }), value > 0 ? "thumb" : "thumb down");
  up.setAttribute("aria-label", label);
  up.setAttribute("aria-pressed", String(turn.thumbs === value));
  up.title = label;
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  picture.setAttribute("viewBox", "0 0 20 20");
  picture.setAttribute("aria-hidden", "true");
  path.setAttribute("d", "M3 9h3v8H3zM6 9l4-7c1.6 0 2.2 1.2 1.9 2.6L11.3 7.5H16c1.2 0 1.9 1 1.6 2.1l-1.7 6C15.6 16.500 15 17 14 17H6");
  picture.append(path);
  up.append(picture);
  return up;
}

function slider(turn) {
  const label = make("label", "rate", "Rating "), range = make("input"), now = make("output");
  let changed = false, timer = 0;
  Object.assign(range, { type: "range", min: -4, max: 4, step: 1, value: turn.rating ?? 0 });
  const told = () => {
    now.textContent = turn.rating === null ? "–" : signed(turn.rating);
    range.setAttribute("aria-valuetext", turn.rating === null ? "not rated" : signed(turn.rating));
  };
  const send = () => {
    const rating = Number(range.value);
    clearTimeout(timer);
    if (rating !== turn.rating && changed) {
      changed = false;
      attempt(async () => {
        await say("rating", [turn.id], rating);
        turn.rating = rating;
        told();
      });
    }
  };
  range.addEventListener("input", () => { now.textContent = signed(Number(range.value)); });
  range.addEventListener("change", () => {  // each press of an arrow key: what is rested on is the rating
    changed = true;
    clearTimeout(timer);
    timer = setTimeout(send, RESTED);
  });
  range.addEventListener("blur", send);
  told();
  label.append(range, now);
  return label;
}

function tools(turn, article) {
  const box = make("div", "tools");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "What you think of this answer");
  const isLast = current.turns.at(-1) === turn;
  const before = current.turns[current.turns.indexOf(turn) - 1];
  box.append(slider(turn), thumb(turn, 1, "Good answer"), thumb(turn, -1, "Bad answer"));
  if (isLast && before) {
    box.append(button("Again", () => again(before.id)));
    box.append(button("Again, but …", () => panel(article, "What should be different?", "", "Write it again",
      (wish) => again(before.id, wish))));
  }
  box.append(button("Edit", () => panel(article, "As it should have been", turn.correction ?? turn.text, "Keep it",
    (text) => attempt(async () => {
      await say("correction", [turn.id], text);
      turn.correction = text;
      article.replaceWith(drawn(turn));
    }))));
  box.append(button("Mark", () => marks(turn, article)));
  box.append(button("Why?", () => why(turn)));
  return box;
}

/** A form below a turn: one text, one action. */
function panel(article, label, text, action, done) {
  article.querySelector(".panel")?.remove();
  const form = make("form", "panel"), caption = make("label", "", label), area = make("textarea");
  area.value = text;
  area.rows = Math.min(10, 2 + text.length / 60);
  area.maxLength = 8000;
  const row = make("div", "row"), go = make("button", "primary", action);
  const close = () => { form.remove(); article.querySelector(".tools button")?.focus(); };
  row.append(go, button("Cancel", close));
  caption.append(area);
  form.append(caption, row);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!area.value.trim()) return area.focus();
    form.remove();
    done(area.value);
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (event.key === "Enter" && !event.shiftKey && !text) { event.preventDefault(); form.requestSubmit(); }
  });
  article.append(form);
  area.focus();
}

/** Parts of a turn as good or bad: select them, by mouse, finger or keyboard. */
function marks(turn, article) {
  article.querySelector(".panel")?.remove();
  const box = make("div", "panel"), caption = make("label", "", "Select a part, then say what it is"), area = make("textarea");
  area.value = turn.text;
  area.readOnly = true;
  area.rows = Math.min(12, 2 + turn.text.length / 60);
  caption.append(area);
  const row = make("div", "row");
  const mark = (good) => attempt(async () => {
    const [start, end] = points(turn.text, area.selectionStart, area.selectionEnd);
    if (start === end) return tell("Select a part of the text first.");
    const span = { start, end, good };
    await say("span", [turn.id], span);
    turn.spans.push(span);
    article.querySelector(".text").replaceChildren(...prepared(turn.text, turn.spans, true));
    return undefined;
  });
  row.append(button("Good part", () => mark(true)), button("Bad part", () => mark(false)),
    button("Done", () => { box.remove(); article.querySelector(".tools button")?.focus(); }));
  box.append(caption, row);
  box.addEventListener("keydown", (event) => { if (event.key === "Escape") box.remove(); });
  article.append(box);
  area.focus();
  area.setSelectionRange(0, 0);
}

function why(turn) {
  byId("why-frame").src = `/why/${turn.id}`;
  byId("why").showModal();
}
byId("why-close").addEventListener("click", () => byId("why").close());
byId("why").addEventListener("close", () => { byId("why-frame").src = "about:blank"; });

const say = (kind, turns, value) => ask("/api/feedback", { kind, turns, value, key: newKey() });

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
    else byId("status").textContent = outcome.text;
    streams = streams.filter((other) => other !== stream);
    if (!streams.length) attempt(() => show(current.id));
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) attempt(() => show(current.id));
  });
  talk.scrollTop = talk.scrollHeight;
}

async function again(user, wish) {
  await attempt(async () => {
    const { writing } = await ask(`/api/dialogues/${current.id}/answers`, {
      after: user, wish: wish ?? "", settings: wanted(), two: byId("two").checked, key: newKey(),
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
    talk.append(drawn(turn));
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
