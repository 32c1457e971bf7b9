// Shows each new message at the top of the list, and says it in a line that screen readers announce.
"use strict";

const url = document.currentScript.dataset.events;
const [latest, gap, none, messages] = ["latest", "gap", "none", "messages"].map((id) => document.getElementById(id));
const MOST = 60000; // milliseconds between two tries

function add(event) {
  const sent = new Date(Number(event.lastEventId.split("-")[0]));
  const data = JSON.parse(event.data);
  const text = String(data.text ?? event.data);
  const [item, paragraph, time] = ["li", "p", "time"].map((name) => document.createElement(name));
  paragraph.textContent = text;
  time.dateTime = sent.toISOString();
  time.textContent = sent.toISOString().replace("T", " ").replace(/\..*/, " UTC");
  item.append(paragraph, time);
  messages.prepend(item);
  none.hidden = true;
  latest.textContent = `New: ${text}`;
}

// By itself a browser connects again when the connection breaks, but not after an answer like 503 or 401.
function connect(after, wait) {
  const source = new EventSource(after ? url.replace(/after=[^&]*/, `after=${after}`) : url);
  source.addEventListener("open", () => { wait = 2000; });
  source.addEventListener("message", (event) => { after = event.lastEventId; add(event); });
  source.addEventListener("gap", (event) => { after = event.lastEventId; gap.hidden = false; });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) {
      setTimeout(connect, wait * (0.5 + Math.random()), after, Math.min(2 * wait, MOST));
    }
  });
}

connect("", 2000);
