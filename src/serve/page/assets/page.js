// Keeps the page up to date: the section of work, the rest of the page when work ends or the reader comes back, and the
// whole page when the program has changed. Without this script everything else works.
"use strict";

const BUSY = 1000;
const IDLE = 15000;
// The longest time without a reload of the rest of the page.
const REST = 300000;
// The timeout of a request; a daemon that takes longer counts as not answering.
const PATIENCE = 30000;

let timer = 0;
let wasBusy = null;
let refreshed = Date.now();

const work = () => document.getElementById("work");

async function fetched(address) {
  const answer = await fetch(address, { signal: AbortSignal.timeout(PATIENCE) });
  if (answer.status === 401 || answer.redirected) {
    location.reload();
  }
  if (!answer.ok) {
    throw new Error(answer.status);
  }
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// Replaces a section's content; the focused element keeps the focus, and unfolded parts stay unfolded.
function replace(section, fresh) {
  const focused = document.activeElement;
  const held = section.contains(focused) && (focused.id || focused.getAttribute("href"));
  const isId = held && focused.id;
  const before = [...section.querySelectorAll("details")];
  fresh.querySelectorAll("details").forEach((one, at) => {
    one.open = before[at]?.open ?? one.open;
  });
  section.replaceWith(fresh);
  if (held) {
    const again = isId ? document.getElementById(held) : fresh.querySelector(`[href="${CSS.escape(held)}"]`);
    again?.focus();
  }
}

function say(fresh) {
  const said = document.getElementById("said");
  const text = fresh.dataset.said ?? "";
  if (said.textContent !== text) {
    said.textContent = text;
  }
}

// Updates everything but the section of work. The first days of a lake add new sections.
async function refreshAll() {
  const fresh = await fetched(location.href);
  refreshed = Date.now();
  document.querySelector(".notice")?.remove();
  const live = [...fresh.querySelectorAll("[data-live]")];
  const ours = document.querySelectorAll("[data-live]").length;
  if (live.length === ours && live.every((section) => document.getElementById(section.id))) {
    live.forEach((section) => replace(document.getElementById(section.id), section));
  } else {
    fresh.querySelector(".notice")?.remove();
    live.filter((section) => !section.closest("main")).forEach((section) => {
      document.getElementById(section.id)?.replaceWith(section);
    });
    document.getElementById("main").replaceWith(fresh.getElementById("main"));
  }
}

async function look(all) {
  clearTimeout(timer);
  let busy = wasBusy;
  try {
    if (!document.hidden) {
      const fresh = (await fetched("/now")).getElementById("work");
      if (fresh.dataset.version !== document.body.dataset.version) {
        location.reload();
        return;
      }
      busy = "busy" in fresh.dataset;
      // Wait while a button in the section is pressed, because its click would be lost.
      if (work() && !work().matches(":active")) {
        say(fresh);
        replace(work(), fresh);
      }
      if (all || (wasBusy && !busy) || Date.now() - refreshed > REST) {
        await refreshAll();
      }
      wasBusy = busy;
    }
    document.body.classList.remove("gone");
  } catch {
    // If the daemon restarts or the network fails, say so and try again.
    document.body.classList.add("gone");
  }
  clearTimeout(timer);
  timer = setTimeout(look, busy ? BUSY : IDLE);
}

// The arrow keys move between the days of the calendar; Home and End move to the ends of a row.
function step(event) {
  const link = event.target.closest?.(".days td > a");
  if (!link || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) {
    return;
  }
  const isNarrow = matchMedia("(max-width: 62rem)").matches;
  const rows = [...document.querySelectorAll(".days tbody tr")].filter((row) => row.checkVisibility());
  const row = link.closest("tr");
  const cells = (of) => [...of.querySelectorAll("td")];
  const at = cells(row).indexOf(link.parentElement);
  // In a narrow window a row is a week.
  const across = (from, by) => {
    for (let i = from + by; i >= 0 && i < cells(row).length; i += by) {
      const found = cells(row)[i].querySelector("a");
      if (found) return found;
    }
    return null;
  };
  const down = (by) => {
    for (let i = rows.indexOf(row) + by; i >= 0 && i < rows.length; i += by) {
      const found = cells(rows[i])[at]?.querySelector("a");
      if (found) return found;
    }
    return null;
  };
  const to = {
    ArrowLeft: () => across(at, -1),
    ArrowRight: () => across(at, 1),
    ArrowUp: () => (isNarrow ? across(at, -7) : down(-1)),
    ArrowDown: () => (isNarrow ? across(at, 7) : down(1)),
    Home: () => across(-1, 1),
    End: () => across(cells(row).length, -1),
  }[event.key];
  if (to) {
    event.preventDefault();
    to()?.focus();
  }
}

// An error page is not reloaded, because it may be the answer to a form.
if (document.querySelector("main #work, main [data-live]")) {
  wasBusy = work() ? "busy" in work().dataset : null;
  timer = setTimeout(look, wasBusy ? BUSY : IDLE);
  document.addEventListener("keydown", step);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) look(true);
  });
}

document.addEventListener("submit", (event) => {
  if ("once" in event.target.dataset) {
    for (const button of event.target.querySelectorAll("button")) {
      button.disabled = true;
    }
  }
});

// A page from the browser's back-forward cache is old, and its forms can be sent again.
addEventListener("pageshow", (event) => {
  for (const button of document.querySelectorAll("form[data-once] button")) {
    button.disabled = false;
  }
  if (event.persisted && document.querySelector("main #work, main [data-live]")) {
    look(true);
  }
});
