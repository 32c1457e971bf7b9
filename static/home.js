// Counts down what is left of cookie and record. Without it the page shows what was left when it was made.
"use strict";

(() => {
  const began = Date.now();
  const shown = document.querySelectorAll("[data-seconds]");

  // As show_span in study/anatomy.py.
  function showSpan(seconds) {
    const two = (number) => String(number).padStart(2, "0");
    const days = Math.floor(seconds / 86400);
    const rest = seconds % 86400;
    const clock = [Math.floor(rest / 3600), Math.floor(rest / 60) % 60, rest % 60].map(two).join(":");
    return days ? `${days} day${days === 1 ? "" : "s"} ${clock}` : clock;
  }

  setInterval(() => {
    const passed = Math.floor((Date.now() - began) / 1000);
    for (const element of shown) {
      const seconds = Math.max(0, element.dataset.seconds - passed);
      if (element instanceof HTMLMeterElement) {
        element.value = seconds;
      } else {
        element.textContent = element.dataset.as === "clock" ? showSpan(seconds) : `${seconds} s`;
      }
    }
  }, 1000);
})();
