// Renews the part of the page that changes: asks for it every five seconds, while somebody can see it.
const live = document.getElementById("live");

function announce() {
  live.querySelector(".without-script").hidden = true;
  live.querySelector(".with-script").hidden = false;
}

async function renew() {
  if (document.hidden) return;
  const answer = await fetch(live.dataset.url, { cache: "no-store" }).catch(() => null); // null: the app is away
  if (answer?.status === 403) location.reload(); // signed out: the page leads to the sign-in
  else if (answer?.ok) {
    live.innerHTML = await answer.text();
    announce();
  }
  live.classList.toggle("stale", !answer?.ok);
}

announce();
setInterval(renew, 5000);
