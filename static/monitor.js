// Renews the part of the page that changes: the server sends it every five seconds, while somebody can see it.
"use strict";

const [live, away] = ["live", "away"].map((id) => document.getElementById(id));
const PAUSE = 5000; // milliseconds between two tries
const OLD = 12000; // milliseconds after which what is shown counts as old
let source = null;
let renewed = Date.now();

function announce() {
  live.querySelector(".without-script").hidden = true;
  live.querySelector(".with-script").hidden = false;
}

function show(html) {
  live.innerHTML = html;
  announce();
  renewed = Date.now();
  away.hidden = true;
  live.classList.remove("stale");
}

function warn() {
  away.hidden = false;
  live.classList.add("stale");
}

// No stream can be had: too many are open, Redis or the app is away, or nobody is signed in any more.
async function ask() {
  const answer = await fetch(live.dataset.url, { cache: "no-store" }).catch(() => null); // null: the app is away
  if (answer?.status === 403) location.reload(); // the page leads to the sign-in
  else if (answer?.ok) show(await answer.text());
  else if (answer?.status === 503) warn();
  setTimeout(connect, PAUSE);
}

function connect() {
  if (document.hidden || (source && source.readyState !== EventSource.CLOSED)) return;
  source = new EventSource(live.dataset.events);
  source.addEventListener("message", (event) => show(event.data));
  source.addEventListener("away", warn);
  source.addEventListener("error", (event) => {
    // By itself a browser connects again when the connection breaks, but not after an answer like 503 or 403.
    if (event.target.readyState === EventSource.CLOSED) ask();
  });
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) source?.close(); // a stream keeps a thread of the server busy
  else connect();
});
setInterval(() => live.classList.toggle("stale", !away.hidden || Date.now() - renewed > OLD), 1000);
announce();
connect();
