/* The trials grid: fetches the visible rows again when trials have ended; scroll and sort stay. */
window.dash_clientside = Object.assign({}, window.dash_clientside, {
  sftTrials: {
    refresh() {
      if (document.querySelector("#trials-table .ag-root")) {
        window.dash_ag_grid.getApi("trials-table").refreshInfiniteCache();
      }
      return window.dash_clientside.no_update;
    },
    /* Requests again what was still being read from the store. */
    again: (ticks, waits) => (waits ? ticks : window.dash_clientside.no_update),
  },
});

/* Keyboard: Enter opens the trial of the focused row, and going back restores the focus. (Arrows walk the
   cells and Space ticks a row; the grid does both itself.) */
(() => {
  let left = null; // row index and column of the cell from which a trial was opened

  document.addEventListener("keydown", (event) => {
    const cell = event.target;
    if (event.key !== "Enter" || !cell.matches?.("#trials-table .ag-cell")) return;
    const row = cell.closest("[row-index]");
    left = { row: Number(row.getAttribute("row-index")), column: cell.getAttribute("col-id") };
    const index = CSS.escape(row.getAttribute("row-index"));
    document.querySelector(`#trials-table [row-index="${index}"] a.go`)?.click();
  });

  const lost = (list) => {
    const here = document.activeElement;
    return !here || here === document.body || list.contains(here); // a hidden element keeps the focus a while
  };
  let wasHidden = null;
  const moved = () => {
    const list = document.getElementById("trials-list");
    if (!list) { wasHidden = left = null; return; }
    if (list.hidden === wasHidden) return;
    const first = wasHidden === null;
    wasHidden = list.hidden;
    if (first || !left) return;
    if (list.hidden) {
      if (lost(list)) document.getElementById("main")?.focus({ preventScroll: true });
      window.scrollTo(0, 0);
    } else {
      const { row, column } = left;
      left = null;
      if (!lost(list) && document.activeElement.id !== "main") return;
      window.requestAnimationFrame(() =>
        window.dash_ag_grid.getApi("trials-table").setFocusedCell(row, column));
    }
  };
  new MutationObserver(moved).observe(document.documentElement, {
    childList: true, subtree: true, attributeFilter: ["hidden"],
  });
})();
