// What a page owes its reader; gives the faults.
(() => {
  const faults = [];
  const where = (e) => `${e.tagName}#${e.id}.${e.getAttribute("class") ?? ""} "${(e.textContent ?? "").trim().slice(0, 40)}"`;
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (wide > 0) {
    const far = [...document.body.querySelectorAll("*")].filter((e) => e.getBoundingClientRect().right > innerWidth && !e.closest(".scroll"));
    faults.push(`scrolls sideways by ${wide}: ${far.slice(0, 3).map(where)}`);
  }
  // Nothing is cut off either: a table that is too wide becomes one of cards.
  for (const e of document.querySelectorAll(".scroll")) {
    if (e.checkVisibility() && e.scrollWidth > e.clientWidth + 1) faults.push(`cut off by ${e.scrollWidth - e.clientWidth}: ${where(e)}`);
  }
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`twice: #${id}`);
  for (const e of document.querySelectorAll("a, button, summary")) {
    if (!(e.getAttribute("aria-label") ?? e.textContent).trim()) faults.push(`without a name: ${where(e)}`);
  }
  for (const e of document.querySelectorAll("input:not([type=hidden]), select")) {
    if (!e.labels.length && !e.getAttribute("aria-label")) faults.push(`without a label: ${where(e)}`);
  }
  for (const e of document.querySelectorAll("table")) {
    if (!e.querySelector("th[scope]")) faults.push(`without headers: ${where(e)}`);
  }
  for (const e of document.querySelectorAll("svg")) {
    if (!e.getAttribute("aria-label")) faults.push(`without a text: ${where(e)}`);
  }
  // Contrast, WCAG AA: 4.5, or 3 for large text.
  const parse = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !e.checkVisibility() || e.closest("svg, .hidden, .skip, option")) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(parse(style.color)), light(behind(e))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.6 && style.fontWeight >= 700) ? 3 : 4.5;
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < needed) faults.push(`contrast ${ratio.toFixed(2)}: ${where(e)}`);
  }
  return [...new Set(faults)].slice(0, 10);
})()
