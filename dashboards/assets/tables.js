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
  /* A page that is drawn anew may change the rows of a place, or put a place where it is open already. */
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
