// What every page does: the CSRF token of changes, times in the reader's own zone, ages and time left, dialogs, forms.
(() => {
  "use strict";
  const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
  document.body.setAttribute("hx-headers", JSON.stringify({ "x-csrf-token": meta("csrf-token") }));

  // The node's clock, not the reader's, says how old a value is.
  let offset = Number(meta("server-now")) - Date.now() / 1000;
  const now = () => Date.now() / 1000 + offset;
  const gridspine = (window.gridspine = { now, setNow: (seconds) => { offset = seconds - Date.now() / 1000; } });

  const span = (seconds) => {
    const s = Math.max(0, Math.floor(seconds));
    if (s < 120) return `${s} s`;
    if (s < 7200) return `${Math.floor(s / 60)} min`;
    if (s < 172800) return `${Math.floor(s / 3600)} h`;
    return `${Math.floor(s / 86400)} days`;
  };
  const left = (seconds) => {
    if (seconds <= 0) return "over";
    const s = Math.floor(seconds);
    const pair = (big, bigUnit, small, smallUnit) => `${big} ${bigUnit}${small ? ` ${small} ${smallUnit}` : ""} left`;
    if (s < 60) return `${s} s left`;
    if (s < 3600) return pair(Math.floor(s / 60), "min", s % 60, "s");
    if (s < 86400) return pair(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
    return pair(Math.floor(s / 86400), "d", Math.floor((s % 86400) / 3600), "h");
  };
  const local = (seconds) => {
    const at = new Date(seconds * 1000);
    const today = new Date().toDateString() === at.toDateString();
    return today ? at.toLocaleTimeString() : at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  };
  const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  gridspine.put = put;
  gridspine.local = local;

  const tick = () => {
    for (const element of document.querySelectorAll(".age[data-at]")) put(element, `${span(now() - element.dataset.at)} ago`);
    for (const element of document.querySelectorAll("[data-until]")) put(element, left(element.dataset.until - now()));
  };
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const settle = (root) => {
    for (const element of root.querySelectorAll("[data-moment]")) {
      put(element, local(Number(element.dataset.moment)));
      element.title = `${element.getAttribute("datetime")} (shown in ${zone})`;
    }
    for (const input of root.querySelectorAll("input[data-days]")) {
      if (input.value) continue;
      const at = new Date((now() + input.dataset.days * 86400) * 1000);
      const two = (n) => String(n).padStart(2, "0");
      input.value = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}`;
    }
    tick();
  };
  settle(document);
  setInterval(tick, 1000);

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-dialog]");
    if (opener) document.getElementById(opener.dataset.dialog)?.showModal();
    if (event.target.closest("[data-close]")) event.target.closest("dialog")?.close();
  });

  // A file goes to the API as it is; what is wrong with it is said beside the form.
  document.addEventListener("submit", async (event) => {
    const form = event.target.closest("form[data-attach]");
    if (!form) return;
    event.preventDefault();
    const [file, note, button] = [form.querySelector("input[type=file]").files[0], form.querySelector("input:not([type=file])").value, form.querySelector("button")];
    if (!file) return;
    const error = document.getElementById(`${form.id}-error`);
    error.replaceChildren();
    button.disabled = true;
    try {
      const query = new URLSearchParams({ name: file.name, note });
      const headers = { "x-csrf-token": meta("csrf-token"), "content-type": file.type || "text/plain" };
      const answer = await fetch(`${form.dataset.attach}?${query}`, { method: "POST", headers, body: file });
      if (answer.ok) { htmx.trigger(form.closest("[data-part]"), "changed"); return; }
      complain(error, (await answer.json()).detail);
    } catch {
      complain(error, "The node cannot be reached, or did not take the file. Nothing was attached.");
    } finally {
      button.disabled = false;
    }
  });
  document.addEventListener("change", async (event) => {
    const input = event.target.closest("input[type=file][data-into]");
    if (!input?.files[0]) return;
    document.getElementById(input.dataset.into).value = (await input.files[0].text()).slice(0, 262144);
  });
  const complain = (holder, text) => {
    const notice = document.createElement("p");
    notice.className = "notice tone-bad";
    notice.textContent = text;
    holder.replaceChildren(notice);
  };

  // A change is sent once, however often its button is pressed: until it is answered, and while it leads to another page.
  document.addEventListener("htmx:confirm", (event) => {
    const { elt, verb } = event.detail;
    if (verb === "post" && (elt.classList.contains("htmx-request") || elt.dataset.leaving)) event.preventDefault();
  });
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    const { elt, xhr } = event.detail;
    if (xhr.getResponseHeader("HX-Redirect")) elt.dataset.leaving = "yes";
  });
  // Who comes back to a page that was kept as it was left finds it anew where its form was sent; else as it was filled in.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted && document.querySelector("[data-leaving], form.htmx-request")) location.reload();
  });
  document.addEventListener("htmx:configRequest", (event) => {
    for (const input of event.target.querySelectorAll?.('input[type="datetime-local"]') ?? []) {
      const at = new Date(input.value);
      if (!Number.isNaN(at.getTime())) event.detail.parameters[input.name] = at.toISOString();
    }
  });
  // What is wrong with a field is said at it, and the first of those is gone to.
  document.addEventListener("htmx:afterRequest", (event) => {
    const said = event.target.matches?.("form") ? [...event.target.querySelectorAll(".field-error")] : [];
    const fieldOf = (one) => event.target.querySelector(`[aria-describedby~="${CSS.escape(one.id)}"]`);
    for (const one of said) fieldOf(one)?.setAttribute("aria-invalid", String(Boolean(one.textContent)));
    const wrong = said.length && event.target.querySelector('[aria-invalid="true"]');
    if (!wrong) return;
    const folded = wrong.closest("details");
    if (folded) folded.open = true;
    wrong.focus();
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    const error = event.target.id && document.getElementById(`${event.target.id}-error`);
    if (error) error.replaceChildren();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful && event.target.matches?.("form.ask")) {
      const key = event.target.querySelector("[data-fresh-key]");
      if (key) key.value = crypto.randomUUID();
    }
  });
  document.addEventListener("htmx:afterSettle", (event) => settle(event.target.parentElement ?? document));
  document.addEventListener("htmx:sendError", () => {
    const notice = document.createElement("p");
    notice.className = "notice tone-bad";
    notice.textContent = "The node cannot be reached. Nothing was changed; try again when it is back.";
    document.getElementById("notices")?.replaceChildren(notice);
  });
})();
