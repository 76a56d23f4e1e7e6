// The rating view: one text after the other, one key each.
import { ask, attempt, begin, button, byId, make, newKey, signed } from "./common.js";
import { points, prepared } from "./spans.js";

const HOW = {
  rating: "Rate the last turn: keys 1 to 9, or minus 4 to plus 4 below. Space leaves it to others.",
  thumbs: "Is the last turn good? Arrow up or down. Space leaves it to others.",
  preference: "Which one is better? Arrow left or right. Space leaves it to others.",
  ranking: "Choose the best one first, then the next best, by their numbers. Space leaves it to others.",
  span: "Select a part, then press G for good or B for bad. Escape leaves it to others.",
  correction: "Write how it should have been. Escape leaves it to others.",
  words: "Say what you think of it. Escape leaves it to others.",
  reply: "Answer the model: words, a rating from -4 to +4 before them, or both, as in: +2 nice, but shorter. /leave ends the dialogue, /again has it written anew. Escape leaves it to others.",
};
const howTo = ({ kind, reply }) => HOW[reply ? "reply" : kind];
let task = null, actions = {}, begun = 0, done = 0, sending = false;

async function next() {
  const answer = await ask("/api/task");
  task = answer.task;
  actions = {};
  begun = performance.now();
  const box = byId("task");
  byId("how").textContent = task ? howTo(task) : "";
  byId("count").textContent = `${done} done, ${answer.waiting} more waiting for you`;
  if (!task) {
    box.replaceChildren(make("p", "", "Nothing waits for you. New texts appear here by themselves."));
    setTimeout(() => attempt(next), 5000);
    return;
  }
  box.replaceChildren(shown());
  box.querySelector("textarea")?.focus();
}

function textOf(content, className) {
  const element = make("div", className);
  element.dir = "auto";
  element.append(...prepared(content, []));
  return element;
}

function shown() {
  const article = make("article", "task");
  for (const { role, text } of task.before) article.append(textOf(`${role === "agent" ? "model" : role}: ${text}`, "text before"));
  const several = task.turns.length > 1;
  const columns = make("div", several ? "pair" : "");
  task.turns.forEach((turn, i) => {
    const one = make("div", several ? "turn agent" : "");
    if (several) one.append(make("p", "muted", `Text ${i + 1}`));
    one.append(textOf(turn.text, "text"));
    columns.append(one);
  });
  article.append(columns, controls());
  return article;
}

function controls() {
  const box = make("div", "scale");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Your answer");
  const ids = task.turns.map(({ id }) => id);
  const choose = (text, keys, value) => {
    const act = () => submit(value);
    for (const key of keys) actions[key] = act;
    const choice = button("", act);
    choice.append(make("span", "", `${text} `), make("kbd", "", keys[0].replace("Arrow", "")));
    box.append(choice);
  };
  switch (task.kind) {
    case "rating":
      for (let i = 1; i <= 9; i += 1) choose(signed(i - 5), [String(i)], i - 5);
      break;
    case "thumbs":
      choose("Good", ["ArrowUp", "+"], 1);
      choose("Bad", ["ArrowDown", "-"], -1);
      break;
    case "preference":
      choose("The first", ["ArrowLeft", "1"], ids[0]);
      choose("The second", ["ArrowRight", "2"], ids[1]);
      break;
    case "ranking": {
      const order = [];
      ids.forEach((id, i) => {
        const pick = button("", () => {
          if (order.includes(id)) return;
          order.push(id);
          pick.setAttribute("aria-pressed", "true");
          pick.append(` is ${order.length}.`);
          if (order.length === ids.length) submit(order);
        });
        pick.append(make("span", "", `Text ${i + 1} `), make("kbd", "", String(i + 1)));
        actions[String(i + 1)] = () => pick.click();
        box.append(pick);
      });
      break;
    }
    default: box.append(written());
  }
  box.append(button("Leave it", skip));
  actions[" "] = actions.Escape = skip;
  return box;
}

/** A text field, for what one key cannot say. */
function written() {
  const form = make("form", "panel"), label = make("label", "", howTo(task)), area = make("textarea");
  const [turn] = task.turns, isSpan = task.kind === "span";
  area.value = task.kind === "words" ? "" : turn.text;
  area.readOnly = isSpan;
  area.rows = 5;
  area.maxLength = 8000;
  label.append(area);
  form.append(label);
  const mark = (good) => {
    const [start, end] = points(turn.text, area.selectionStart, area.selectionEnd);
    if (start < end) submit({ start, end, good });
  };
  const row = make("div", "row");
  if (isSpan) row.append(button("Good part", () => mark(true)), button("Bad part", () => mark(false)));
  else row.append(make("button", "primary", "Send"));
  form.append(row);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (area.value.trim()) submit(area.value);
  });
  if (isSpan) Object.assign(actions, { g: () => mark(true), b: () => mark(false) });
  return form;
}

async function submit(value) {
  if (sending) return;
  sending = true;
  const seconds = (performance.now() - begun) / 1000;
  await attempt(async () => {
    await ask(`/api/task/${task.lease}`, { value, seconds, key: newKey() });
    done += 1;
    await next();
  });
  sending = false;
}

async function skip() {
  if (sending) return;
  sending = true;
  await attempt(async () => {
    await ask(`/api/task/${task.lease}/skip`, {});
    await next();
  });
  sending = false;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !task) return;
  const typing = event.target.tagName === "TEXTAREA";
  if (typing && !(event.target.readOnly && event.key !== " ") && event.key !== "Escape") return;
  if (event.key === " " && event.target.tagName === "BUTTON") return;
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
});

await attempt(async () => {
  await begin();
  await next();
});
