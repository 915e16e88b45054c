/* Makes a folded table from its plain rows when somebody opens it; cells are text, never HTML. */
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
  const clear = (place) => place.querySelector(":scope > table[data-made]")?.remove();
  const build = (place) => {
    const [head, rows, kinds] = JSON.parse(place.dataset.table);
    const row = (tag, words) => made("tr", ...words.map((word, i) => cell(tag, word, kinds[i])));
    clear(place);
    const table = made("table", made("thead", row("th", head)), made("tbody", ...rows.map((r) => row("td", r))));
    table.dataset.made = "";
    place.append(table);
  };
  const open = (place) => !place.closest("details:not([open])");
  const show = (place) => { if (place.dataset.table && open(place)) build(place); else clear(place); };

  document.addEventListener("toggle", ({ target }) => {
    if (target.open) target.querySelectorAll("[data-table]").forEach(show);
  }, true);
  /* A page rendered again may change the rows of a table, or add a table where it is open already. */
  new MutationObserver((changes) => {
    changes.forEach(({ type, target, addedNodes }) => {
      if (type === "attributes") show(target);
      else addedNodes.forEach((node) => {
        if (node.matches?.("[data-table]")) show(node);
        node.querySelectorAll?.("[data-table]").forEach(show);
      });
    });
  }).observe(document.documentElement, { attributeFilter: ["data-table"], childList: true, subtree: true });
})();
