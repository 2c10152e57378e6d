// What a page does by itself, beyond what it is without: its numbers follow, and it can be dark or light.
//
// A page asks for itself again and takes over what differs, text by text, so that focus, selection
// and what was typed stay. All that is shown is made by the server.
"use strict";

const EVERY = 2000; // milliseconds; the server looks no more often
const PATIENCE = 8000;

const main = document.getElementById("main");
const live = document.getElementById("live");
const pulse = document.getElementById("pulse");
let following = sessionStorage.getItem("paused") !== "yes";
let failures = 0;
let timer = 0;

// Taking over

function key(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key || "" : "";
}

function alike(old, now) {
  return old.nodeType === now.nodeType && old.nodeName === now.nodeName && key(old) === key(now);
}

function takeOver(old, now) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== now.nodeValue) old.nodeValue = now.nodeValue;
    return;
  }
  if (old.hasAttribute("data-keep")) return;
  for (const { name, value } of now.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!now.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  const kept = new Map([...old.childNodes].filter(key).map((node) => [key(node), node]));
  let at = old.firstChild;
  for (const next of [...now.childNodes]) {
    const same = key(next) ? kept.get(key(next)) : at;
    if (same && alike(same, next)) {
      if (same === at) at = at.nextSibling;
      else old.insertBefore(same, at);
      takeOver(same, next);
    } else {
      old.insertBefore(document.importNode(next, true), at);
    }
  }
  while (at) {
    const following = at.nextSibling;
    if (!(at.nodeType === Node.ELEMENT_NODE && at.hasAttribute("data-keep"))) at.remove();
    at = following;
  }
}

// Following

async function follow() {
  try {
    const answer = await fetch(location.href, {
      headers: { "X-Live": "1", Accept: "text/html" },
      redirect: "manual",
      signal: AbortSignal.timeout(PATIENCE),
    });
    if (answer.type === "opaqueredirect" || answer.status === 401) {
      pulse.textContent = "Log in again: this page is not shown to everybody.";
      return; // nothing follows until then
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const now = page.getElementById("main");
    if (!now || !now.hasAttribute("data-live")) throw new Error(String(answer.status));
    const focused = document.activeElement;
    takeOver(main, now);
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    failures = 0;
    pulse.textContent = `As of ${new Date().toLocaleTimeString()}.`;
  } catch {
    failures += 1;
    pulse.textContent = "The dashboard does not answer; it is asked again.";
  }
  plan();
}

function plan() {
  clearTimeout(timer);
  if (following && !document.hidden) timer = setTimeout(follow, EVERY * 2 ** Math.min(failures, 4));
}

if (main.hasAttribute("data-live")) {
  const tell = () => live.setAttribute("aria-pressed", String(following));
  live.hidden = false;
  live.addEventListener("click", () => {
    following = !following;
    sessionStorage.setItem("paused", following ? "no" : "yes");
    if (!following) pulse.textContent = "Nothing follows until Live is pressed again.";
    tell();
    plan();
  });
  document.addEventListener("visibilitychange", plan);
  tell();
  plan();
}

// Dark and light

const theme = document.getElementById("theme");
if (theme) {
  const root = document.documentElement;
  const dark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const tell = () => (theme.textContent = dark() ? "Light" : "Dark");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    document.cookie = `pydisque_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
    tell();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  tell();
}

// Another order is shown as soon as it is chosen

document.getElementById("sort")?.addEventListener("change", (event) => event.target.form.requestSubmit());
