// Hovering over charts, shortcuts, dark and light, live updates. Pages work without this script.
(() => {
  "use strict";

  // Charts: shows the values at the pointer or chosen with arrow keys, from the table behind the chart.
  const place = (figure) => {
    const drawing = figure.querySelector(".drawing");
    const rows = [...figure.querySelectorAll("tbody tr")];
    if (!drawing || !rows.length || drawing.dataset.ready) return;
    drawing.dataset.ready = "1";
    const heads = [...figure.querySelectorAll("thead th")].map((each) => each.textContent);
    const line = document.createElement("div");
    line.className = "cursor";
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.setAttribute("role", "status");
    drawing.append(line, tip);
    drawing.tabIndex = 0;
    drawing.setAttribute("role", "group");
    drawing.setAttribute("aria-label", "Chart; arrow keys, Home and End go through its points");
    let at = rows.length - 1;
    const show = (index) => {
      at = Math.max(0, Math.min(rows.length - 1, index));
      const part = rows.length === 1 ? 0.5 : at / (rows.length - 1);
      const cells = [...rows[at].children].map((each) => each.textContent);
      const title = document.createElement("b");
      title.textContent = cells[0] + (rows[at].hasAttribute("data-open") ? " (so far)" : "");
      tip.replaceChildren(title);
      cells.slice(1).forEach((text, number) => {
        if (!text) return;
        const entry = document.createElement("span");
        entry.textContent = `${heads[number + 1]}: ${text}`;
        tip.append(entry);
      });
      // The Content-Security-Policy forbids style attributes, but not this.
      line.style.left = `${part * 100}%`;
      tip.style.left = `${part * 100}%`;
      tip.classList.toggle("left", part > 0.6);
      drawing.classList.add("pointed");
    };
    const point = (event) => {
      const box = drawing.getBoundingClientRect();
      show(Math.round(((event.clientX - box.left) / box.width) * (rows.length - 1)));
    };
    drawing.addEventListener("pointermove", point);
    drawing.addEventListener("pointerdown", point);
    drawing.addEventListener("pointerleave", (event) => {
      // A finger that leaves the screen leaves the values to be read, until the page refreshes itself.
      if (event.pointerType === "mouse") drawing.classList.remove("pointed");
      else drawing.dataset.left = "";
    });
    drawing.addEventListener("blur", () => drawing.classList.remove("pointed"));
    drawing.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (!step) return;
      event.preventDefault();
      // The first arrow key shows the last point.
      show(drawing.classList.contains("pointed") || !Number.isFinite(step) ? at + step : at);
    });
  };

  // Countries: the style sheet shows the name beside the code.
  const names = new Intl.DisplayNames("en", { type: "region" });
  const name = (entry) => {
    const code = entry.textContent;
    const known = /^[A-Z]{2}$/.test(code) ? names.of(code) : code;
    if (known !== code) entry.dataset.name = known;
  };
  const enrich = () => {
    document.querySelectorAll("[data-chart]").forEach(place);
    document.querySelectorAll("[data-table=countries] tbody th > :is(a, span:not(.bar))").forEach(name);
  };
  enrich();

  // What somebody chose stays chosen on the next page. Browsers may refuse to keep it.
  const keep = (key, value) => {
    try {
      if (value === undefined) return localStorage.getItem(`analytics_${key}`);
      localStorage.setItem(`analytics_${key}`, value);
    } catch {
      return null;
    }
  };
  document.querySelectorAll(".tabs > input").forEach((each) => {
    if (keep(each.name) === each.id) each.checked = true;
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches(".tabs > input")) keep(event.target.name, event.target.id);
  });

  // On phones the navigation is wider than the screen.
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

  // Dark and light: kept in a cookie, so that the server sends pages in the right colours and nothing flickers.
  document.querySelector("[data-theme-toggle]")?.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    document.cookie = `analytics_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
  });

  // Shortcuts: a key clicks the element with that data-key. They can be switched off, for people who speak to their
  // computer or press keys unintentionally (https://www.w3.org/TR/WCAG22/#character-key-shortcuts).
  const help = document.getElementById("help");
  const keys = document.querySelector("[data-keys]");
  if (keys) keys.checked = keep("keys") !== "off";
  keys?.addEventListener("change", () => keep("keys", keys.checked ? "on" : "off"));
  const close = (outside) => {
    document.querySelectorAll("details.menu[open], .pointed").forEach((each) => {
      if (each.contains(outside)) return;
      // The focus must not stay in an element that is hidden now.
      if (each.contains(document.activeElement)) each.querySelector("summary")?.focus();
      each.removeAttribute("open");
      each.classList.remove("pointed");
    });
  };
  // The browser may show the page again as it was left.
  addEventListener("pagehide", () => close(null));
  // Safari on phones tells of no clicks beside links and buttons.
  document.addEventListener("pointerdown", (event) => close(event.target));
  document.querySelector("[data-help]")?.addEventListener("click", () => help.showModal());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("dialog")) return;
    if (event.key === "Escape") {
      close(null);
    } else if (event.target.closest("input, select, textarea") || !keys?.checked) {
      // Keys are text in fields.
    } else if (event.key === "?") {
      help?.showModal();
    } else if (/^[a-z0-9]$/.test(event.key)) {
      const opened = document.querySelector(`[data-focus="${event.key}"]`);
      const target = document.querySelector(`[data-key="${event.key}"]`);
      if (opened) {
        event.preventDefault();
        opened.parentElement.open = true;
        opened.parentElement.querySelector("input:not([type=hidden])")?.focus();
      } else if (target) {
        target.click();
      }
    }
  });

  // Share links: the full address instead of the path.
  document.querySelectorAll("[data-address]").forEach((each) => {
    each.value = new URL(each.value, location.href).href;
    each.addEventListener("focus", () => each.select());
  });
  // The link that was made just now is ready to be copied.
  document.querySelector(".made [data-address]")?.focus();

  // Dates: browsers say which end is wrong, before the server does.
  document.querySelectorAll("[type=date][name=from]").forEach((from) => {
    const limit = () => (from.form.elements.to.min = from.value);
    from.addEventListener("input", limit);
    limit();
  });

  // Live: replace the part that changed. The server escapes everything, and DOMParser runs no scripts.
  const shown = () => document.querySelector("[data-live]");
  const put = (html) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    const fresh = page.querySelector("[data-live]");
    const stale = shown();
    if (!fresh) return false;
    const focused = stale.contains(document.activeElement) ? document.activeElement.id : "";
    stale.querySelectorAll("input[type=radio]:checked").forEach((each) => {
      const same = fresh.querySelector(`#${CSS.escape(each.id)}`);
      if (same) same.checked = true;
    });
    stale.replaceWith(document.adoptNode(fresh));
    // The last 30 days are others after midnight.
    const days = page.querySelector("[data-days]");
    if (days) document.querySelector("[data-days]")?.replaceWith(document.adoptNode(days));
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    enrich();
    return true;
  };
  // Don't replace what has an open menu, the pointer on a chart or pressed on a link, selected text, or visible focus,
  // except on tabs, which get it back.
  const busy = () =>
    document.hidden ||
    (getSelection()?.type === "Range" && shown().contains(getSelection().anchorNode)) ||
    document.querySelector("[data-live] :is(:focus-visible:not([type=radio]), details[open], .pointed:not([data-left]), :active)");
  // Tell why the figures are no longer updated: the server may end while a page is open, and so may a session.
  const tell = (text) => {
    const stale = document.querySelector("[data-stale]");
    if (stale.textContent !== text) stale.textContent = text;
  };
  const DOWN = "These figures are not up to date: the server does not answer.";
  const CLOSED = "These figures are no longer updated: you are signed out, or may not see them any more. Reload the page.";
  // One failure is none: Firefox and Safari report what they cut off when the page is left.
  let failed = 0;
  const fail = () => failed++ && tell(DOWN);
  const succeed = () => {
    failed = 0;
    tell("");
  };
  let asking = false;
  const refresh = async () => {
    if (asking || busy()) return;
    asking = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "manual" });
      const html = await answer.text();
      const closed = answer.type === "opaqueredirect" || [401, 403, 410].includes(answer.status);
      // A redirect, or a page without figures, is the application's own way to sign in.
      if (closed || (answer.ok && !busy() && !put(html))) tell(CLOSED);
      else if (answer.ok) succeed();
      else fail();
    } catch {
      fail();
    }
    asking = false;
  };
  const seconds = Number(shown()?.dataset.live);
  const poll = () => {
    setInterval(refresh, seconds * 1000);
    // Whoever comes back to a page wants the figures of now.
    document.addEventListener("visibilitychange", refresh);
  };
  const address = shown()?.dataset.stream;
  if (address && window.EventSource) {
    // The server sends changes. Hidden pages close the connection; the browser reopens one that has ended.
    let source = null;
    let waiting = null;
    const listen = () => {
      if (document.hidden || source) return;
      source = new EventSource(address);
      source.addEventListener("open", succeed);
      source.addEventListener("message", (event) => {
        waiting = JSON.parse(event.data).html;
      });
      source.addEventListener("error", () => {
        // Each connection ends after a minute, and the browser opens the next one.
        if (source?.readyState !== EventSource.CLOSED) return fail();
        document.removeEventListener("visibilitychange", turn);
        poll();
        refresh();
      });
    };
    const turn = () => {
      if (!document.hidden) return listen();
      source?.close();
      source = null;
    };
    document.addEventListener("visibilitychange", turn);
    setInterval(() => {
      if (!waiting || busy()) return;
      put(waiting);
      waiting = null;
    }, 200);
    listen();
  } else if (seconds) {
    poll();
  }
  setInterval(() => {
    document.querySelectorAll("time[data-ago]").forEach((each) => {
      // Counted from the age that the server sent, because clocks differ.
      each.since ??= Date.now() - Number(each.dataset.ago) * 1000;
      const past = Math.floor((Date.now() - each.since) / 1000);
      each.textContent = past < 1 ? "now" : past < 60 ? `${past}s ago` : `${Math.floor(past / 60)}m ago`;
    });
  }, 1000);
})();
