// A story step by step: by the buttons, or by the arrow keys. Without this script all of it is there at once.
"use strict";

const steps = [...document.querySelectorAll(".timeline > .step")];
const controls = document.querySelector(".controls");
const verdict = document.querySelector(".verdict");
const output = controls.querySelector("output");
const [back, on, all] = controls.querySelectorAll("button");
let current = 1; // the step that one sees last
let isStepping = true;

function show() {
  const isLast = current === steps.length;
  steps.forEach((step, index) => {
    step.classList.toggle("later", isStepping && index >= current);
    step.ariaCurrent = isStepping && index === current - 1 ? "step" : null;
  });
  verdict.classList.toggle("later", isStepping && !isLast);
  back.disabled = !isStepping || current === 1;
  on.disabled = !isStepping || isLast;
  all.textContent = isStepping ? "Show all" : "Step by step";
  output.textContent = isStepping ? `Step ${current} of ${steps.length}` : `All ${steps.length} steps`;
}

function go(number) {
  if (!isStepping || number < 1 || number > steps.length) {
    return;
  }
  current = number;
  show();
  const step = steps[current - 1];
  output.textContent += `: ${step.querySelector("h2").textContent.replace(/\s+/g, " ").trim()}`; // it is read out
  (current === steps.length ? verdict : step).scrollIntoView({ block: "nearest" });
}

back.addEventListener("click", () => go(current - 1));
on.addEventListener("click", () => go(current + 1));
all.addEventListener("click", () => {
  isStepping = !isStepping;
  current = 1;
  show();
});

// So that the browser's way back from the code leads to this step.
document.querySelector(".timeline").addEventListener("click", (event) => {
  if (isStepping && event.target.closest("a")) {
    history.replaceState(null, "", `#${event.target.closest(".step").id}`);
  }
});

document.addEventListener("keydown", (event) => {
  const moves = { ArrowRight: 1, ArrowLeft: -1 };
  if (event.key in moves && isStepping && !(event.altKey || event.ctrlKey || event.metaKey || event.shiftKey)) {
    event.preventDefault();
    go(current + moves[event.key]);
  }
});

const asked = Number(/^#step-(\d+)$/.exec(location.hash)?.[1] ?? 1);
current = Math.min(Math.max(1, asked), steps.length);
controls.hidden = false;
show();
