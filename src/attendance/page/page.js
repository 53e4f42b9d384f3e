// Makes the cuts a switch, the tables sortable and filterable. The page is complete without it.
"use strict";
(() => {
  const links = [...document.querySelectorAll("#cuts a")];
  const cuts = links.map((link) => document.getElementById(link.hash.slice(1)));
  const show = (at, focus) => {
    cuts.forEach((cut, n) => { cut.hidden = n !== at; });
    links.forEach((link, n) => (n === at ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
    if (focus) links[at].focus();
  };
  links.forEach((link, at) => {
    link.addEventListener("click", (event) => { event.preventDefault(); show(at); });
    link.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) { event.preventDefault(); show((at + step + links.length) % links.length, true); }
    });
  });
  const named = cuts.findIndex((cut) => "#" + cut.id === location.hash);
  if (cuts.length) show(Math.max(named, 0));

  for (const cut of cuts) {
    const body = cut.querySelector("tbody");
    const filters = cut.querySelector(".filters");
    if (!body || !filters) continue;
    const rows = [...body.rows];
    const [text, below] = [filters.querySelector("input"), filters.querySelector("select")];
    const said = filters.querySelector("[role=status]");
    const filter = () => {
      const wanted = text.value.trim().toLocaleLowerCase();
      let shown = 0;
      for (const row of rows) {
        const share = row.dataset.share === "" ? 2 : Number(row.dataset.share);
        row.hidden = !row.cells[0].textContent.toLocaleLowerCase().includes(wanted) || share >= Number(below.value);
        shown += row.hidden ? 0 : 1;
      }
      said.textContent = said.dataset.text.replace("{}", shown).replace("{}", rows.length);
    };
    text.addEventListener("input", filter);
    below.addEventListener("change", filter);
    filters.hidden = false;
    filter();
    for (const head of cut.querySelectorAll("thead th[data-sort]")) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const key = head.dataset.sort;
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of cut.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const value = (row) => (key === "name" ? row.cells[0].textContent : Number(row.dataset[key] || 2));
        const order = (a, b) => (key === "name" ? value(a).localeCompare(value(b)) : value(a) - value(b));
        rows.sort((a, b) => (up ? order(a, b) : order(b, a)));
        body.append(...rows);
      });
    }
  }
})();
