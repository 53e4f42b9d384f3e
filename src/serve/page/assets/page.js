// Keeps the work in hand up to date, and the rest of the page when it is over. Everything works without it but that.
"use strict";

const BUSY = 1000;
const IDLE = 15000;

const work = () => document.getElementById("work");

async function fetched(address) {
  const answer = await fetch(address);
  if (answer.status === 401 || answer.redirected) {
    location.reload();
  }
  if (!answer.ok) {
    throw new Error(answer.status);
  }
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// Puts a section's new content in place; what has the focus keeps it.
function replace(section, fresh) {
  const focused = document.activeElement;
  const held = section.contains(focused) && focused.id;
  section.replaceWith(fresh);
  if (held) {
    document.getElementById(held)?.focus();
  }
}

function say(fresh) {
  const said = document.getElementById("said");
  const text = fresh.dataset.said ?? "";
  if (said.textContent !== text) {
    said.textContent = text;
  }
}

// The rest of the page when work is over. A lake's first days bring sections that were not there.
async function refreshAll() {
  const fresh = await fetched(location.href);
  document.querySelector(".notice")?.remove();
  const live = [...fresh.querySelectorAll("[data-live]")];
  if (live.every((section) => document.getElementById(section.id))) {
    live.forEach((section) => replace(document.getElementById(section.id), section));
  } else {
    fresh.querySelector(".notice")?.remove();
    document.getElementById("main").replaceWith(fresh.getElementById("main"));
  }
}

async function look() {
  let busy = false;
  try {
    if (!document.hidden) {
      const before = "busy" in work().dataset;
      const fresh = (await fetched("/now")).getElementById("work");
      busy = "busy" in fresh.dataset;
      say(fresh);
      replace(work(), fresh);
      if (before && !busy) {
        await refreshAll();
      }
    }
    document.body.classList.remove("gone");
  } catch {
    // The daemon restarts, or the network is away: it is shown, and asked again.
    document.body.classList.add("gone");
  }
  setTimeout(look, busy ? BUSY : IDLE);
}

if (work()) {
  setTimeout(look, "busy" in work().dataset ? BUSY : IDLE);
}

for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", () => {
    for (const button of form.querySelectorAll("button")) {
      button.disabled = true;
    }
  });
}

// A page that comes back from the browser's memory can be sent again.
addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("form[data-once] button")) {
    button.disabled = false;
  }
});
