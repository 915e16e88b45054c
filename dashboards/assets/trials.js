/* The trials grid: ask again for the rows on show when trials have ended; scroll and sort stay. */
window.dash_clientside = Object.assign({}, window.dash_clientside, {
  sftTrials: {
    refresh() {
      if (document.querySelector("#trials-table .ag-root")) {
        window.dash_ag_grid.getApi("trials-table").refreshInfiniteCache();
      }
      return window.dash_clientside.no_update;
    },
  },
});
