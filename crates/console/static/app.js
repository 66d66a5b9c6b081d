// What pages gain from a script: copying, exact times, guarding unsaved changes, narrowing lists of boxes. Everything else
// works without it.
"use strict";

document.documentElement.classList.add("script");

const say = (text) => {
  const toast = document.getElementById("toast");
  if (!toast) return;
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { toast.hidden = true; }, 4000);
};

// Every time says when it was, in UTC and where the reader is.
const tellTimes = (root) => {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.valueOf())) time.title = `${at.toISOString()} · ${at.toLocaleString()} here`;
  }
};

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source ? source.textContent : button.dataset.copy);
    say("Copied");
  } catch {
    say("The browser did not allow copying; select the text instead");
  }
});

// Menus close when something else is clicked, or with Escape.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.switcher[open], details.more[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.switcher[open], details.more[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// Unsaved changes of a form marked `data-guard` are not lost by leaving the page.
let unsaved = false;
document.addEventListener("input", (event) => {
  if (event.target.closest("form[data-guard]")) unsaved = true;
});
document.addEventListener("submit", () => { unsaved = false; });
window.addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });

// A box that ticks all others of its group, and a field that narrows a list of boxes.
document.addEventListener("change", (event) => {
  const all = event.target.closest("[data-all]");
  if (!all) return;
  const group = document.getElementById(all.dataset.all);
  for (const box of group.querySelectorAll("label:not([hidden]) input[type=checkbox]")) box.checked = all.checked;
  group.querySelector("input")?.dispatchEvent(new Event("change", { bubbles: true }));
});
document.addEventListener("input", (event) => {
  const filter = event.target.closest("[data-narrow]");
  if (!filter) return;
  const text = filter.value.trim().toLowerCase();
  for (const item of document.getElementById(filter.dataset.narrow).querySelectorAll("[data-name]")) {
    item.hidden = !item.dataset.name.toLowerCase().includes(text);
  }
});

// A choice that shows one group of fields and hides its siblings.
const showChosen = (root) => {
  for (const choice of root.querySelectorAll("select[data-shows]")) {
    for (const group of document.querySelectorAll(`[data-shown^="${choice.dataset.shows}"]`)) {
      group.hidden = group.dataset.shown !== choice.dataset.shows + choice.value;
    }
  }
};
document.addEventListener("change", (event) => { if (event.target.closest("select[data-shows]")) showChosen(document); });

// A row that opens to its details, and closes again.
document.addEventListener("htmx:beforeRequest", (event) => {
  const opener = event.target;
  if (!opener.hasAttribute?.("data-opens")) return;
  const details = opener.closest("tr").nextElementSibling;
  const isOpen = opener.getAttribute("aria-expanded") === "true";
  opener.setAttribute("aria-expanded", String(!isOpen));
  opener.textContent = isOpen ? "▸" : "▾";
  if (!isOpen) return;
  event.preventDefault();
  if (details?.classList.contains("details")) details.remove();
});

// A name that has to be typed before something is deleted.
document.addEventListener("input", (event) => {
  const typed = event.target.closest("[data-must-be]");
  if (typed) typed.form.querySelector("button.danger").disabled = typed.value !== typed.dataset.mustBe;
});

document.addEventListener("htmx:responseError", (event) => {
  const answer = event.detail.xhr;
  say(answer.getResponseHeader("x-signed-out")
    ? "Your sign-in has ended. What you wrote is still here; saving asks you to sign in again"
    : "The server could not do this. Try again in a moment");
});
document.addEventListener("htmx:sendError", () => say("The server cannot be reached. Try again in a moment"));
document.addEventListener("htmx:afterSettle", (event) => tellTimes(event.target));
document.addEventListener("htmx:beforeRequest", () => document.getElementById("loading")?.classList.add("htmx-request"));
document.addEventListener("htmx:afterRequest", () => document.getElementById("loading")?.classList.remove("htmx-request"));
document.addEventListener("DOMContentLoaded", () => {
  tellTimes(document);
  showChosen(document);
  const typed = document.querySelector("[data-must-be]");
  if (typed) typed.form.querySelector("button.danger").disabled = true;
});
