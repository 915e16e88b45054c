/* Scrolls the tab of the open page into view on a narrow screen. */
(() => {
  let shown = null;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  const show = () => {
    const tab = document.querySelector("#tabs a[aria-current]");
    if (!tab || tab.pathname === shown) return; // the reader may have scrolled since
    const first = shown === null;
    shown = tab.pathname;
    const row = tab.parentElement;
    const middle = tab.offsetLeft - row.offsetLeft + tab.offsetWidth / 2;
    row.scrollTo({
      left: middle - row.clientWidth / 2,
      behavior: first || still.matches ? "instant" : "smooth",
    });
  };
  new MutationObserver(show).observe(document.documentElement, {
    childList: true, subtree: true, attributeFilter: ["aria-current"],
  });
})();
