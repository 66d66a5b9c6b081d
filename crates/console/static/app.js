// What pages gain from a script: copying, exact times, guarding unsaved changes, narrowing lists of boxes. Everything else
// works without it.
"use strict";

document.documentElement.classList.add("script");

// With `again`, the notice stays and has a button that does it once more.
const say = (text, again) => {
  const toast = document.getElementById("toast");
  if (!toast) return;
  // What can be done again is not covered by what only tells.
  if (!again && !toast.hidden && toast.querySelector("button")) return;
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(say.timer);
  if (!again) {
    say.timer = setTimeout(() => { toast.hidden = true; }, 4000);
    return;
  }
  const button = document.createElement("button");
  button.textContent = "Try again";
  button.addEventListener("click", () => { toast.hidden = true; again(); });
  toast.append(" ", button);
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
// A form that a script sends stays until the answer is there.
document.addEventListener("submit", (event) => { if (!event.defaultPrevented) unsaved = false; });
document.addEventListener("htmx:beforeOnLoad", (event) => {
  if (event.detail.xhr.getResponseHeader("hx-redirect")) unsaved = false;
});
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

// A refused form is shown with what is wrong.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.xhr.status !== 422) return;
  event.detail.shouldSwap = true;
  event.detail.isError = false;
});
let button = null;
document.addEventListener("click", (event) => { button = event.target.closest("button") ?? button; });
/** Sends a form again with the button that sent it. */
const resend = (form) => () => form.requestSubmit(button?.form === form && button.isConnected ? button : null);
const guarded = (event) => event.target.closest?.("form[data-guard]");
document.addEventListener("htmx:responseError", (event) => {
  const answer = event.detail.xhr;
  const form = guarded(event);
  if (answer.getResponseHeader("x-signed-out")) {
    if (!form) return say("Your sign-in has ended. What you wrote is still here; saving asks you to sign in again");
    // The page to sign in on keeps the form, so it is sent there as without a script.
    unsaved = false;
    const go = document.createElement("input");
    Object.assign(go, { type: "hidden", name: "go", value: button?.form === form && button.name === "go" ? button.value : "save" });
    form.append(go);
    return form.submit();
  }
  if (!form) return say("The server could not do this. Try again in a moment");
  const page = new DOMParser().parseFromString(answer.responseText, "text/html");
  const told = [...page.querySelectorAll("h1, h1 + p")].map((part) => part.textContent.trim()).join(": ");
  return say(`${told || `The server could not do this (${answer.status})`} What you wrote is still here.`, resend(form));
});
document.addEventListener("htmx:sendError", (event) => {
  const form = guarded(event);
  if (form) say("The server cannot be reached. Nothing is saved; what you wrote is still here.", resend(form));
  else say("The server cannot be reached. Try again in a moment");
});

// A field says that it is wrong for as long as the text beside it does.
const markWrong = () => {
  for (const text of document.querySelectorAll("#editor .wrong[id]")) {
    const field = document.querySelector(`#editor [aria-describedby="${CSS.escape(text.id)}"]`);
    if (!field || field.tagName === "FIELDSET") continue;
    if (text.textContent) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  }
};
/** To the first field that a refused save is about. */
const toFirstWrong = () => {
  const text = [...document.querySelectorAll("#editor .wrong[id]")].find((one) => one.textContent);
  if (!text) return document.querySelector("main [role=alert]")?.scrollIntoView({ block: "center" });
  const field = document.querySelector(`#editor [aria-describedby="${CSS.escape(text.id)}"]`);
  return (field?.matches("fieldset") ? field.querySelector("input[type=checkbox]") : field)?.focus();
};
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.id === "content") document.getElementById("toast")?.setAttribute("hidden", "");
  tellTimes(event.target);
  showChosen(document);
  markWrong();
  if (event.target.id === "content" && document.querySelector("#editor, main [role=alert]")) toFirstWrong();
});
document.addEventListener("htmx:beforeRequest", () => document.getElementById("loading")?.classList.add("htmx-request"));
document.addEventListener("htmx:afterRequest", () => document.getElementById("loading")?.classList.remove("htmx-request"));
document.addEventListener("DOMContentLoaded", () => {
  tellTimes(document);
  showChosen(document);
  if (document.querySelector("#editor [name=again][value='1']")) toFirstWrong();
  const typed = document.querySelector("[data-must-be]");
  if (typed) typed.form.querySelector("button.danger").disabled = true;
});
