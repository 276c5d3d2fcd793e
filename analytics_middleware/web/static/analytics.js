// The browser's script: it sends events of the page, and page views that the server did not see.
//
//   <script defer src="/api/analytics/analytics.js" data-key="WRITE_KEY"></script>
//
// data-api: the API's URL, if this script is served elsewhere. data-key: the write key, if the site has one.
// data-pages="off": send no page views. data-first="on": send the first page view, too, if no middleware counts it.
//
// analytics.min.js is this file through `terser analytics.js -c passes=3,unsafe_arrows=true,ecma=2020 -m --toplevel`,
// after the first eight digits of its SHA-256 in a comment: /*01234567*/.
(() => {
  // Some applications run the scripts of a body again with each page that they load; the first one goes on.
  if (window.analytics?.flush) return;
  const script = document.currentScript;
  const options = script.dataset;
  const api = options.api || new URL(".", script.src).href;
  // Global Privacy Control (https://w3c.github.io/gpc/) and Do Not Track: if set, nothing is ever sent.
  const objects = navigator.globalPrivacyControl || [navigator.doNotTrack, window.doNotTrack].includes("1");
  let queue = [];
  let count = 0;
  let timer;
  // Whether the timer is for sending again, and after how many milliseconds: twice as many each time.
  let again;
  let pause;
  // The address of the page without its fragment, and the address the visitor came from.
  const where = () => location.href.split("#")[0];
  let here = where();
  let before = document.referrer;

  // A string as body is text/plain, which needs no preflight; the browser adds Origin and Sec-Fetch-Site.
  const post = (path, body, leaving, answered) => {
    const url = api.replace(/\/?$/, "/") + path + (options.key ? "?key=" + encodeURIComponent(options.key) : "");
    if (leaving && navigator.sendBeacon?.(url, body)) return;
    // With keepalive the request outlives the page; but browsers refuse more than 64 KiB of such requests at a time.
    const go = (keepalive) => fetch(url, { method: "POST", body, keepalive });
    go(true)
      .catch(() => go(false))
      .then(
        (answer) => answered(answer.status),
        () => answered(503),
      );
  };

  // Keep the last 200, sorted by time: events that failed to send may be older than those in the queue.
  const keep = (events) => {
    queue = queue
      .concat(events)
      .sort((one, other) => one[2] - other[2])
      .slice(-200);
  };

  const send = (events, leaving) => {
    // Ages instead of times, because many clocks are wrong.
    const aged = events.map(([at, event]) => ({ ...event, age_ms: Math.max(0, Date.now() - at) }));
    const body = JSON.stringify({ events: aged });
    const halves = (leaving) => {
      send(events.slice(0, events.length / 2), leaving);
      send(events.slice(events.length / 2), leaving);
    };
    // Browsers send at most 64 KiB in the background, and the server takes no more. A character has up to three bytes.
    if (body.length > 2e4 && events[1]) halves(leaving);
    else
      post("events", body, leaving, (status) => {
        // The server refuses all events if one is wrong: halving lets the others arrive.
        if (status == 400 && events[1]) halves();
        // Events that did not arrive are sent again; their ids keep them from counting twice. But not one that is too
        // large for the server: a refusal may look like a lost connection, and it would be sent for ever.
        if ((status == 429 || status > 499) && new Blob([body]).size <= 65536) {
          keep(events);
          clearTimeout(timer);
          again = timer = setTimeout(flush, pause);
        }
      });
  };

  const flush = (leaving) => {
    clearTimeout(timer);
    pause = again ? Math.min(2 * pause, 3e5) : 9e3;
    again = timer = 0;
    // A prerendered page may never be looked at.
    if (document.prerendering) return;
    // The server refuses events older than a day.
    const events = queue.filter(([at]) => Date.now() - at < 864e5);
    queue = [];
    if (events[0]) send(events, leaving === true);
  };

  const add = (name, more) => {
    try {
      // A version 4 UUID; crypto.randomUUID exists in secure contexts only.
      const event_id = "10000000-1000-4000-8000-100000000000".replace(/[018]/g, (digit) =>
        (digit ^ (crypto.getRandomValues(new Uint8Array(1))[0] & (15 >> (digit / 4)))).toString(16),
      );
      // The limits are the server's. A name that is not a string has no trim(): the event is dropped.
      name = name.trim().slice(0, 256);
      if (!name) return;
      // A copy, because the page may change the object. If that fails (a cycle), the event is dropped without an error.
      const text = JSON.stringify({ name, url: where().slice(0, 2048), event_id, ...more });
      // The server refuses lone surrogates, which stringify escapes.
      const event = JSON.parse(text.replace(/\\\\|\\ud[89a-f]../g, (found) => (found[2] ? "\ufffd" : found)));
      // The server refuses properties that are no object; a beacon could not see that, so they are dropped here.
      if (Array.isArray(event.properties) || typeof event.properties != "object") delete event.properties;
      keep([[Date.now(), event, count++]]);
      timer = timer || setTimeout(flush, 1e3);
      // Not while offline, or each new event would send all of them.
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

  // A hidden page may live on, so what does not arrive is kept. From one that ends only sendBeacon is sure to arrive in
  // all browsers. It returns true offline, too, and the events are lost: a page that may be shown again keeps them.
  addEventListener("visibilitychange", () => document.visibilityState == "hidden" && flush());
  addEventListener("pagehide", (event) => (!event.persisted || navigator.onLine) && flush(true));
  addEventListener("online", flush);
  document.addEventListener("prerenderingchange", flush);
  if (options.pages == "off") return;

  // Page views that the application makes without the server. If it replaces only the query (a filter, a scroll
  // position), it is still the same page.
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
  // The browser shows the page again from memory, without a request.
  addEventListener("pageshow", (event) => event.persisted && page());

  // The server has counted this page when it served it, except for a prefetch or prerendering, or if the page came
  // from a cache.
  const first = () => {
    const entry = performance.getEntriesByType("navigation")[0] || {};
    if (options.first == "on" || entry.deliveryType || entry.activationStart) page();
  };
  if (document.prerendering) document.addEventListener("prerenderingchange", first, { once: true });
  else first();
})();
