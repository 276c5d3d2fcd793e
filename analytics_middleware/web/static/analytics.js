// The browser's part: events of the page, and the page views that no server saw.
//
//   <script defer src="/api/analytics/analytics.js" data-key="WRITE_KEY"></script>
//
// data-api: where the API is, when not beside this script. data-key: the write key, where the site has one.
// data-pages="off": no page views at all. data-first="on": count the first page too, for pages no middleware counts.
//
// analytics.min.js is this file through `terser analytics.js -c passes=3,unsafe_arrows=true,ecma=2020 -m --toplevel`,
// after the first eight digits of its SHA-256 in a comment: /*01234567*/.
(() => {
  const script = document.currentScript;
  const options = script.dataset;
  const api = options.api || new URL(".", script.src).href;
  // Global Privacy Control (https://w3c.github.io/gpc/) and Do Not Track: then there is nothing to do, for good.
  const objects = navigator.globalPrivacyControl || [navigator.doNotTrack, window.doNotTrack].includes("1");
  let queue = [];
  let count = 0;
  let timer;
  // Whether the timer is for what did not arrive.
  let again;
  // Where the visitor is, without the fragment; and from where they came.
  const where = () => location.href.split("#")[0];
  let here = where();
  let before = document.referrer;

  // A string as body is text/plain, which needs no preflight; the browser adds Origin and Sec-Fetch-Site.
  const post = (path, body, leaving, answered) => {
    const url = api.replace(/\/?$/, "/") + path + (options.key ? "?key=" + encodeURIComponent(options.key) : "");
    if (leaving && navigator.sendBeacon && navigator.sendBeacon(url, body)) return;
    // Kept alive, it outlives the page; but browsers keep 64 KiB alive at a time, and refuse what is more.
    const go = (keepalive) => fetch(url, { method: "POST", body, keepalive });
    go(true)
      .catch(() => go(false))
      .then(
        (answer) => answered(answer.status),
        () => answered(503),
      );
  };

  // The last 200, in the order in which they happened: what comes back may be older than what is here.
  const keep = (events) => {
    queue = queue
      .concat(events)
      .sort((one, other) => one[2] - other[2])
      .slice(-200);
  };

  const send = (events, leaving) => {
    // Ages, not times: many clocks are wrong.
    const aged = events.map(([at, event]) => ({ ...event, age_ms: Math.max(0, Date.now() - at) }));
    const body = JSON.stringify({ events: aged });
    const halves = (leaving) => {
      send(events.slice(0, events.length / 2), leaving);
      send(events.slice(events.length / 2), leaving);
    };
    // What browsers let go in the background, and the server takes, is 64 KiB; a character has up to three bytes.
    if (body.length > 2e4 && events[1]) halves(leaving);
    else
      post("events", body, leaving, (status) => {
        // The server refuses all for one that is wrong: the others are to arrive without it.
        if (status == 400 && events[1]) halves();
        // What did not arrive waits for another turn: its id keeps it from counting twice. One event that is more than
        // servers take does not: their refusal may look like a lost connection, and it would go on for ever.
        if ((status == 429 || status > 499) && new Blob([body]).size <= 65536) {
          keep(events);
          clearTimeout(timer);
          again = timer = setTimeout(flush, 9e3);
        }
      });
  };

  const flush = (leaving) => {
    clearTimeout(timer);
    again = timer = 0;
    // The server takes nothing that is older than a day.
    const events = queue.filter(([at]) => Date.now() - at < 864e5);
    queue = [];
    if (events[0]) send(events, leaving === true);
  };

  const add = (name, more) => {
    try {
      // A version 4 UUID: crypto.randomUUID is for secure contexts only.
      const event_id = "10000000-1000-4000-8000-100000000000".replace(/[018]/g, (digit) =>
        (digit ^ (crypto.getRandomValues(new Uint8Array(1))[0] & (15 >> (digit / 4)))).toString(16),
      );
      // The server takes no other names and addresses; what is no text has no trim(), and ends here.
      name = name.trim().slice(0, 256);
      if (!name) return;
      // A copy as of now; what can't be one (a cycle) is no event, and no error of the page.
      const text = JSON.stringify({ name, url: where().slice(0, 2048), event_id, ...more });
      // Half a character (a lone surrogate, which stringify escapes) is no text to a server.
      const event = JSON.parse(text.replace(/\\\\|\\ud[89a-f]../g, (found) => (found[2] ? "\ufffd" : found)));
      // A list or a text is no properties. A beacon's answer is never seen, so the event can't wait for the server's no.
      if (Array.isArray(event.properties) || typeof event.properties != "object") delete event.properties;
      keep([[Date.now(), event, count++]]);
      timer = timer || setTimeout(flush, 1e3);
      // Without network each further event would send all of them.
      if (queue.length > 19 && !again) flush();
    } catch {}
  };

  const page = () => add("pageview", { referrer: before.slice(0, 2048) || undefined });

  window.analytics = objects
    ? { track() {}, identify() {}, flush() {} }
    : {
        track: (name, properties) => add(name, { properties }),
        identify(user_id, traits) {
          try {
            post("identify", JSON.stringify({ user_id, traits }), false, () => {});
          } catch {}
        },
        flush,
      };
  if (objects) return;

  // A beacon says true without network, too, and is lost: a page that may be seen again keeps what it has.
  const leave = (gone) => (gone || navigator.onLine !== false) && flush(true);
  addEventListener("visibilitychange", () => document.visibilityState == "hidden" && leave());
  addEventListener("pagehide", (event) => leave(!event.persisted));
  if (options.pages == "off") return;

  // Pages that the application changes without the server. What replaces only the query (a filter, a scroll
  // position) is the same page still.
  const moved = (replaced) => {
    const from = here;
    here = where();
    if (here != from && (replaced !== true || new URL(from).pathname != location.pathname)) {
      before = from;
      page();
    }
  };
  for (const name of ["pushState", "replaceState"]) {
    const original = history[name];
    history[name] = function () {
      original.apply(this, arguments);
      moved(name == "replaceState");
    };
  }
  addEventListener("popstate", moved);
  // Shown again from memory, without a request.
  addEventListener("pageshow", (event) => event.persisted && page());

  // The server counted this page when it served it, unless that was for a prefetch or a prerendering, which it leaves
  // out, or unless a cache served it.
  const first = () => {
    const entry = performance.getEntriesByType("navigation")[0] || {};
    if (options.first == "on" || entry.deliveryType || entry.activationStart) page();
  };
  if (document.prerendering) document.addEventListener("prerenderingchange", first, { once: true });
  else first();
})();
