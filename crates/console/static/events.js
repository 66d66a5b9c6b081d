// The live stream: events as they come, newest first; what integrations caused stands below the event that caused it.
"use strict";

(() => {
  const live = document.getElementById("live");
  if (!live) return;
  const MOST_ROWS = 200;
  const RECONNECT_MS = 2000;
  const state = document.getElementById("live-state");
  const empty = document.getElementById("live-empty");
  const pause = document.getElementById("live-pause");
  const prefix = document.getElementById("live-prefix");
  const device = document.getElementById("live-device");
  let paused = false;
  let held = 0;
  let stop = new AbortController();

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const pretty = (data) => {
    try { return JSON.stringify(JSON.parse(data), null, 2); } catch { return data ?? ""; }
  };

  /** The event of an integration's: which event caused it, or null for a device's own. */
  const causedBy = (name) => /(?:^|\/)hook-(?:sent|response|error)\/(.+)$/.exec(name)?.[1] ?? null;

  const row = (event) => {
    const details = element("details", "log");
    details.dataset.name = event.name;
    details.dataset.device = event.coreid ?? "";
    const summary = element("summary");
    const time = element("time", "", new Date(event.published_at).toLocaleTimeString());
    time.dateTime = event.published_at;
    time.title = `${event.published_at} · ${new Date(event.published_at).toLocaleString()} here`;
    summary.append(time, element("span", "mono", event.name), element("span", "", event.coreid ?? ""));
    summary.append(element("span", "fill quiet mono", (event.data ?? "").slice(0, 120)));
    details.append(summary, element("pre", "", pretty(event.data)));
    return details;
  };

  const fits = (event) => !device.value.trim() || (event.coreid ?? "").includes(device.value.trim().toLowerCase());

  const show = (event) => {
    const cause = causedBy(event.name);
    const parent = cause && [...live.children].find((child) => cause === child.dataset.name || cause.startsWith(`${child.dataset.name}/`));
    if (parent) {
      const nested = parent.querySelector(".nested") ?? parent.appendChild(element("div", "nested"));
      nested.append(row(event));
      const count = parent.querySelector(".badge") ?? parent.querySelector("summary").appendChild(element("span", "badge"));
      count.textContent = `${nested.children.length} from integrations`;
      return;
    }
    if (!fits(event)) return;
    live.prepend(row(event));
    while (live.children.length > MOST_ROWS) live.lastElementChild.remove();
    empty.hidden = true;
  };

  const take = (block) => {
    const lines = block.split("\n");
    const name = lines.find((line) => line.startsWith("event: "))?.slice(7);
    const data = lines.find((line) => line.startsWith("data: "))?.slice(6);
    if (!name || !data) return;
    if (paused) {
      held += 1;
      state.textContent = `Paused, ${held} passed by`;
      return;
    }
    show({ name, ...JSON.parse(data) });
  };

  const listen = async () => {
    stop.abort();
    stop = new AbortController();
    const { signal } = stop;
    try {
      const answer = await fetch(`${live.dataset.stream}?prefix=${encodeURIComponent(prefix.value)}`, { signal });
      if (!answer.ok || answer.redirected) throw new Error(`status ${answer.status}`);
      state.textContent = paused ? state.textContent : "Live";
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        blocks.forEach(take);
      }
    } catch {
      if (signal.aborted) return;
    }
    state.textContent = "Connecting again";
    setTimeout(() => { if (!signal.aborted) listen(); }, RECONNECT_MS);
  };

  pause.addEventListener("click", () => {
    paused = !paused;
    held = 0;
    pause.textContent = paused ? "Resume" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
    state.textContent = paused ? "Paused" : "Live";
  });
  document.getElementById("live-clear").addEventListener("click", () => { live.replaceChildren(); empty.hidden = false; });
  prefix.addEventListener("change", listen);
  device.addEventListener("input", () => {
    for (const child of live.children) child.hidden = !child.dataset.device.includes(device.value.trim().toLowerCase());
  });
  // Publishing from here leaves the stream running.
  document.getElementById("publish")?.addEventListener("submit", async (event) => {
    const form = event.target;
    event.preventDefault();
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), headers: { "hx-request": "true" } });
    if (answer.status === 204) say("The event is accepted");
    else form.submit();
  });
  window.addEventListener("pagehide", () => stop.abort());
  listen();
})();
