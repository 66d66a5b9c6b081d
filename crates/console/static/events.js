// The live stream: events as they come, newest first; what integrations caused stands below the event that caused it.
"use strict";

(() => {
  const live = document.getElementById("live");
  if (!live) return;
  const MOST_ROWS = 200;
  const RECONNECT_MS = 2000;
  const TYPING_MS = 300;
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

  const names = { integrations: JSON.parse(live.dataset.integrations), products: JSON.parse(live.dataset.products) };
  const pages = live.dataset.stream.replace(/\/events\/stream$/, "/integrations");

  const row = (event, hidden) => {
    const details = element("details", "log");
    const summary = element("summary");
    const time = element("time", "", new Date(event.published_at).toLocaleTimeString());
    time.dateTime = event.published_at;
    time.title = `${event.published_at} · ${new Date(event.published_at).toLocaleString()} here`;
    summary.append(time, element("span", "mono", event.name), element("span", "", hidden ? "" : event.coreid ?? ""));
    const product = names.products[event.productID];
    if (product && Object.keys(names.products).length > 1) summary.append(element("span", "quiet", product));
    summary.append(element("span", "fill quiet mono", event.data === "undefined" ? "" : (event.data ?? "").slice(0, 120)));
    details.append(summary, element("pre", "", pretty(event.data)));
    return details;
  };

  const wanted = () => [prefix.value, device.value.trim().toLowerCase()];
  const fits = (row) => {
    const [begins, of] = wanted();
    return row.dataset.name.startsWith(begins) && row.dataset.device.toLowerCase().includes(of);
  };

  /** One mark for each integration that an event fired: what is known of it last. */
  const chip = (parent, cause) => {
    const chips = parent.querySelector(".chips") ?? parent.querySelector("summary").appendChild(element("span", "chips"));
    let one = [...chips.children].find((child) => child.dataset.integration === cause.integration);
    if (!one) {
      one = chips.appendChild(element("span", "badge"));
      one.dataset.integration = cause.integration;
    }
    const [, name] = names.integrations[cause.integration] ?? ["", "an integration"];
    const said = { sent: ["→", "sent"], response: ["✓", "replied"], error: ["✗", "error"] }[cause.kind];
    one.className = `badge ${cause.kind === "error" ? "bad" : cause.kind === "response" ? "on" : ""}`;
    one.textContent = `${said[0]} ${name}`;
    one.title = `${name}: ${said[1]}`;
  };

  const place = (shown, id, name, coreid) => {
    Object.assign(shown.dataset, { id, name, device: coreid ?? "" });
    shown.hidden = !fits(shown);
    live.prepend(shown);
    while (live.children.length > MOST_ROWS) live.lastElementChild.remove();
    empty.hidden = true;
  };

  const show = (event) => {
    if (!event.cause) {
      const early = [...live.children].find((child) => child.dataset.id === event.id);
      if (!early) return place(row(event), event.id, event.name, event.coreid);
      // What it caused came first.
      const real = row(event);
      early.querySelector("summary").replaceChildren(...real.querySelector("summary").childNodes, early.querySelector(".chips"));
      return early.querySelector("pre").replaceWith(real.querySelector("pre"));
    }
    const { cause } = event;
    let parent = [...live.children].find((child) => child.dataset.id === cause.id);
    if (!parent) {
      parent = row({ ...event, name: cause.name, coreid: cause.coreid, data: "" });
      place(parent, cause.id, cause.name, cause.coreid);
    }
    const nested = parent.querySelector(".nested") ?? parent.appendChild(element("div", "nested"));
    const shown = row(event, true);
    const [page, name] = names.integrations[cause.integration] ?? [];
    if (page) {
      const link = element("a", "", name);
      link.href = `${pages}/${page}`;
      const line = element("p", "");
      line.append(link);
      shown.append(line);
    }
    nested.append(shown);
    return chip(parent, cause);
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
  // Both filters act at once on what is shown; the stream follows once the name is typed.
  let typing;
  const filter = () => {
    for (const child of live.children) child.hidden = !fits(child);
    const address = new URL(location.href);
    for (const [name, field] of [["prefix", prefix], ["device", device]]) {
      if (field.value) address.searchParams.set(name, field.value);
      else address.searchParams.delete(name);
    }
    history.replaceState(history.state, "", address);
  };
  prefix.addEventListener("input", () => { filter(); clearTimeout(typing); typing = setTimeout(listen, TYPING_MS); });
  device.addEventListener("input", filter);
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
