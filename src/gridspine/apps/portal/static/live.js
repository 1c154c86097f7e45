// One event stream a page: opened with a one-time ticket, closed while nobody looks, opened again when it breaks.
(() => {
  "use strict";
  const { put, local, setNow } = window.gridspine;
  const csrf = document.querySelector('meta[name="csrf-token"]')?.content ?? "";
  const badge = document.getElementById("live-state");
  let source = null;
  let waiting = 0;
  let timer = 0;
  let attempt = 0;
  let followed = "";

  const say = (text, tone) => {
    if (!badge) return;
    badge.hidden = !text;
    badge.className = `live-state tone-${tone}`;
    put(badge, text);
  };
  const wanted = () => [...document.querySelectorAll("body [data-live]")].map((element) => element.dataset.live).filter(Boolean).join("&");
  const icon = (holder, name) => {
    const use = holder?.querySelector("use");
    if (use) use.setAttribute("href", use.getAttribute("href").replace(/#.*/, `#${name}`));
  };
  const setQuality = (holder, level, words) => {
    if (!holder || (holder.dataset.level === level && holder.dataset.words === words)) return;
    holder.dataset.level = level;
    holder.dataset.words = words;
    holder.className = `quality level-${level}`;
    icon(holder, level);
    put(holder.querySelector(".words"), words);
  };
  const setState = (holder, tone, words) => {
    holder.className = `state tone-${tone}`;
    icon(holder, `tone-${tone}`);
    put(holder.querySelector("span"), words);
  };

  const order = ["invalid", "questionable", "old", "good"];
  const names = { good: "good", questionable: "questionable", invalid: "invalid", old: "old data", never: "never reported" };
  const levelOf = (element) => [...element.classList].find((name) => name.startsWith("level-"))?.slice(6);
  const setWorst = (holder) => {
    const target = holder.querySelector("[data-worst] .quality");
    const among = holder.dataset.levelOf ? document.querySelector(holder.dataset.levelOf) : holder.querySelector(".points");
    if (!target || !among) return;
    const levels = new Set([...among.querySelectorAll(".quality")].map(levelOf));
    const level = order.find((name) => levels.has(name)) ?? "never";
    setQuality(target, level, names[level]);
  };

  const onValues = (changed) => {
    const holders = new Set();
    for (const one of changed) {
      const row = document.querySelector(`[data-point="${CSS.escape(one.id)}"]`);
      if (!row) continue;
      put(row.querySelector(".value"), one.text);
      setQuality(row.querySelector(".quality"), one.level, one.words);
      const age = row.querySelector(".age");
      age.dataset.at = one.at;
      age.title = local(one.at);
      const holder = row.closest("[data-level-of]") ?? document.querySelector("[data-level-of]");
      if (holder) holders.add(holder);
    }
    holders.forEach(setWorst);
  };

  const onChanged = ({ part }) => {
    if (part === "stop") { location.reload(); return; }
    const element = document.querySelector(`[data-part="${CSS.escape(part)}"]`);
    if (!element) return;
    // A question that is open stays open, and what is half filled in stays (data-keep): the part is loaded later.
    const dialog = element.querySelector("dialog[open]");
    if (dialog) { dialog.addEventListener("close", () => onChanged({ part }), { once: true }); return; }
    const touched = (input) => input.type !== "hidden" && input.value !== input.defaultValue;
    if (element.dataset.keep !== undefined && [...element.querySelectorAll("input, textarea")].some(touched)) {
      setTimeout(() => onChanged({ part }), 5000);
      return;
    }
    // What someone is typing is not taken away from under their hands.
    const busy = element.contains(document.activeElement) && document.activeElement.matches("input, textarea, select");
    if (busy && document.activeElement.value) {
      document.activeElement.addEventListener("blur", () => onChanged({ part }), { once: true });
    } else if (!element.classList.contains("htmx-request")) {
      htmx.trigger(element, "changed");
    }
  };

  const preview = (() => {
    const state = document.getElementById("preview-state");
    const text = document.getElementById("preview-text");
    const body = document.getElementById("preview-rows");
    const total = document.getElementById("preview-count");
    const rows = 12;
    let seen = 0;
    const cell = (content, name) => {
      const element = document.createElement("td");
      element.textContent = content;
      if (name) element.className = name;
      return element;
    };
    const meanings = {
      requested: "It opens when the owner approves.",
      refused: "The request was refused.",
      revoked: "The grant was revoked.",
      suspended: "The grant is suspended; the stream opens again when that is lifted.",
      expired: "The grant has expired.",
      stale: "The node is catching up; the stream opens again by itself.",
      "not-yet": "The grant has not begun yet.",
    };
    return {
      open() {
        if (!state) return;
        setState(state, "good", "live");
        document.getElementById("preview").classList.remove("ended");
        put(text, "Open. Each reading appears here as it is delivered.");
      },
      rows(event) {
        if (!state) return;
        const fresh = event.rows.map((row) => {
          const line = document.createElement("tr");
          const [thing, point] = [row.name.slice(0, row.name.lastIndexOf("/")), row.name.slice(row.name.lastIndexOf("/") + 1)];
          const name = cell(point);
          const whose = document.createElement("span");
          whose.className = "hint";
          whose.textContent = thing;
          name.append(whose);
          const value = cell(row.text, row.level === "good" ? "num" : `num level-${row.level}`);
          if (row.level !== "good") value.append(` (${names[row.level]})`);
          line.append(name, value, cell(local(row.at)));
          return line;
        });
        body.closest("table").hidden = false;
        body.prepend(...fresh);
        while (body.children.length > rows) body.lastElementChild.remove();
        seen += event.count;
        put(total, String(seen));
      },
      end(event) {
        if (!state) return;
        const before = ["requested", "not-yet", "stale"].includes(event.reason);
        setState(state, before ? "waiting" : "bad", before ? event.reason.replace("-", " ").replace("stale", "paused") : `ended: ${event.reason}`);
        document.getElementById("preview").classList.toggle("ended", !before);
        const meaning = meanings[event.reason] ?? event.reason;
        put(text, event.word ? `${meaning} Reason: ${event.word}` : meaning);
      },
    };
  })();

  // Who joined and left an ensemble, newest first; members and sums are loaded again.
  const moves = 100;
  const onEnsemble = (event) => {
    const list = document.getElementById("ensemble-moves");
    if (!list) return;
    const still = document.getElementById("ensemble-still");
    if (event.over) { put(still, `It is followed no more: ${event.over}.`); still.hidden = false; return; }
    const shown = document.getElementById("ensemble-count");
    const other = shown.textContent !== String(event.count);
    put(shown, String(event.count));
    if (other || event.changed) htmx.trigger(document.getElementById("members"), "changed");
    if (!event.changed) return;
    const line = (thing, word, tone) => {
      const item = document.createElement("li");
      item.className = `event tone-${tone}`;
      const link = document.createElement("a");
      link.href = `/portal/things/${encodeURIComponent(thing.id)}`;
      link.textContent = thing.title;
      const at = document.createElement("span");
      at.className = "muted";
      at.textContent = ` ${word} at ${local(window.gridspine.now())}`;
      item.append(link, at);
      return item;
    };
    list.prepend(...event.joined.map((one) => line(one, "joined", "good")), ...event.left.map((one) => line(one, "left", "over")));
    while (list.children.length > moves) list.lastElementChild.remove();
    still.hidden = true;
  };

  const handlers = {
    ensemble: onEnsemble,
    values: onValues,
    changed: onChanged,
    figures: (figures) => {
      for (const [name, text] of Object.entries(figures)) {
        const element = document.querySelector(`[data-figure="${CSS.escape(name)}"]`);
        if (element) put(element, text);
      }
    },
    "preview-open": () => preview.open(),
    preview: (event) => preview.rows(event),
    "preview-end": (event) => preview.end(event),
    history: (event) => document.dispatchEvent(new CustomEvent("live:history", { detail: event })),
    readings: (event) => document.dispatchEvent(new CustomEvent("live:readings", { detail: event })),
  };

  const close = () => {
    clearTimeout(timer);
    waiting += 1; // an answer that is still under way opens nothing
    source?.close();
    source = null;
  };
  const again = () => {
    close();
    const pause = Math.min(30, 2 ** attempt) * (0.75 + Math.random() / 2);
    attempt += 1;
    say("Connection lost; trying again", "bad");
    timer = setTimeout(open, pause * 1000);
  };

  async function open() {
    close();
    followed = wanted();
    if (!followed || document.hidden) return;
    const turn = waiting;
    let ticket = "";
    try {
      const answer = await fetch("/portal/ticket", { method: "POST", headers: { "x-csrf-token": csrf } });
      if (answer.status === 401) { location.assign("/sign-in"); return; }
      if (!answer.ok) { if (turn === waiting) again(); return; }
      ({ ticket } = await answer.json());
    } catch {
      if (turn === waiting) again();
      return;
    }
    if (turn !== waiting) return;
    source = new EventSource(`/portal/live?ticket=${encodeURIComponent(ticket)}&${followed}`);
    source.addEventListener("open", (event) => {
      if (event.data === undefined) return; // the connection's own event; ours follows and has data
      setNow(JSON.parse(event.data).now);
      attempt = 0;
      say("Live", "good");
      document.documentElement.dataset.live = "open";
    });
    source.addEventListener("end", (event) => {
      const { reason } = JSON.parse(event.data);
      if (reason === "signed-out") { close(); location.assign("/sign-in"); } else again();
    });
    source.addEventListener("error", again);
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    }
  }

  document.addEventListener("visibilitychange", () => { if (document.hidden) { close(); say("Paused", "over"); } else open(); });
  document.addEventListener("htmx:afterSettle", () => { if (wanted() !== followed) { attempt = 0; open(); } });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => { if (event.persisted) open(); });
  open();
})();
