// What all pages share: requests, elements made of text, who is here, and the colours.

export const byId = (id) => document.getElementById(id);

/** An element with text in it. There is no other way in which text gets into the page. */
export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

export function button(text, action, className) {
  const element = make("button", className, text);
  element.type = "button";
  element.addEventListener("click", action);
  return element;
}

/** A key that no other request has: the server does the same thing only once. */
export const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** +3, 0, −2 */
export const signed = (x, digits = 0) =>
  (x > 0 ? "+" : x < 0 ? "−" : "") + Math.abs(x).toFixed(digits);

let csrf = "";

/** Ask the server. POSTs a body if there is one; throws an Error whose message is for people. */
export async function ask(path, body) {
  return body === undefined ? send(path) : send(path, JSON.stringify(body), "application/json");
}

/** Ask the server as `ask` does, with a body of any type. */
export async function send(path, body, type) {
  const options = { headers: { Accept: "application/json" } };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = type;
    options.headers["X-CSRF-Token"] = csrf;
    options.body = body;
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. What was sent before is kept; try again.");
  }
  const data = await answer.json().catch(() => ({}));
  if (answer.status === 401) location.reload();
  if (!answer.ok) throw new Error(data.error || `The server refused this (${answer.status}).`);
  return data;
}

/** Say something to everybody: on the screen for a while, and to screen readers. */
export function tell(text, seconds = 5) {
  byId("status").textContent = text;
  document.querySelector(".toast")?.remove();
  const toast = make("div", "toast", text);
  document.body.append(toast);
  setTimeout(() => toast.remove(), 1000 * seconds);
}

/** Run something that may fail, and tell people if it does. */
export async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    tell(error.message, 8);
    return undefined;
  }
}

/** Who is here and what is served; fills the head of the page. */
export async function begin() {
  const me = await ask("/api/me");
  csrf = me.csrf;
  byId("model").textContent = me.model;
  const [summary, box] = byId("me").children;
  summary.textContent = me.person;
  const code = make("p", "muted", "To come back in another browser, your code is ");
  code.append(make("code", "", me.code));
  const colours = ["", "light", "dark"];
  const names = { "": "as the system's", light: "light", dark: "dark" };
  const theme = button("", () => {
    const next = colours[(colours.indexOf(localStorage.getItem("theme") || "") + 1) % 3];
    localStorage.setItem("theme", next);
    document.documentElement.dataset.theme = next;
    theme.textContent = `Colours: ${names[next]}`;
  });
  theme.textContent = `Colours: ${names[localStorage.getItem("theme") || ""]}`;
  box.append(make("p", "", `You are ${me.person}.`), code, theme,
    button("Log out", () => attempt(async () => {
      await ask("/api/logout", {});
      location.assign("/login");
    })));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") byId("me").open = false;
  });
  return me;
}
