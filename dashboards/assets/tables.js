/* A table behind a chart comes as its plain rows: it is made when somebody opens it, of text alone. */
(() => {
  const made = (tag, ...children) => {
    const element = document.createElement(tag);
    element.append(...children);
    return element;
  };
  const cell = (tag, words, kind) => {
    const element = made(tag, words ?? "");
    element.className = kind;
    if (tag === "th") element.scope = "col";
    return element;
  };
  const build = (place) => {
    const [head, rows, kinds] = JSON.parse(place.dataset.table);
    const row = (tag, words) => made("tr", ...words.map((word, i) => cell(tag, word, kinds[i])));
    place.replaceChildren(
      made("table", made("thead", row("th", head)), made("tbody", ...rows.map((r) => row("td", r)))),
    );
  };
  const open = (place) => !place.closest("details:not([open])");

  document.addEventListener("toggle", ({ target }) => {
    if (target.open) target.querySelectorAll("[data-table]").forEach((p) => { if (open(p)) build(p); });
  }, true);
  /* A page that is drawn anew may keep the place and change its rows. */
  new MutationObserver((changes) => {
    changes.forEach(({ target }) => {
      if (!target.dataset.table) target.replaceChildren();
      else if (target.firstChild && open(target)) build(target);
      else target.replaceChildren();
    });
  }).observe(document.documentElement, { attributeFilter: ["data-table"], subtree: true });
})();
