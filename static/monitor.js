// Renews the part of the page that changes: the server sends it every five seconds, while somebody can see it.
"use strict";

const [live, away, gone] = ["live", "away", "gone"].map((id) => document.getElementById(id));
const PAUSE = 5000; // milliseconds between two tries
const OLD = 12000; // milliseconds without an answer after which the app counts as away
let source = null;
let renewed = Date.now(); // when the app answered last

function announce() {
  live.querySelector(".without-script").hidden = true;
  live.querySelector(".with-script").hidden = false;
}

function show(html) {
  warn(null);
  if (isSelected()) return; // somebody copies it; what is new comes with the next answer
  live.innerHTML = html;
  announce();
}

function isSelected() {
  const selection = getSelection();
  return !selection.isCollapsed && selection.containsNode(live, true);
}

// Say why what is shown is old: `away`, Redis does not answer; `gone`, the app does not; null: it is not old.
function warn(why) {
  if (why !== gone) renewed = Date.now();
  for (const each of [away, gone]) each.hidden = each !== why;
  live.classList.toggle("stale", why !== null);
}

// No stream can be had: too many are open, Redis or the app is away, or nobody is signed in any more.
async function ask() {
  const answer = await fetch(live.dataset.url, { cache: "no-store" }).catch(() => null); // null: the app is away
  if (answer?.status === 403) location.reload(); // the page leads to the sign-in
  else if (answer?.ok) show(await answer.text());
  else if (answer?.status === 503) warn(away);
  setTimeout(connect, PAUSE);
}

function connect() {
  if (document.hidden || (source && source.readyState !== EventSource.CLOSED)) return;
  source = new EventSource(live.dataset.events);
  source.addEventListener("message", (event) => show(event.data));
  source.addEventListener("away", () => warn(away));
  source.addEventListener("error", (event) => {
    // By itself a browser connects again when the connection breaks, but not after an answer like 503 or 403.
    if (event.target.readyState === EventSource.CLOSED) ask();
  });
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) source?.close(); // a stream keeps a thread of the server busy
  else {
    renewed = Date.now(); // nobody asked meanwhile
    connect();
  }
});
setInterval(() => {
  if (!document.hidden && Date.now() - renewed > OLD) warn(gone);
}, 1000);
announce();
connect();
