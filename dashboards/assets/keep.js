/* Keeps opened tables open and the keyboard focus in place when a page is rendered again. */
(() => {
  const opened = new Set();
  let left = null;

  const name = (details) => {
    const title = details.closest("section")?.getAttribute("aria-label") ?? "";
    return `${window.location.pathname} ${title} ${details.querySelector("summary")?.textContent}`;
  };
  // An identity of the focused element; a menu's summary is named without its words, which change.
  const place = (here) => {
    const picker = here.closest?.(".picker");
    if (picker) return `${picker.getAttribute("aria-label")}: ${here.textContent}`;
    const menu = here.closest?.("details.menu");
    return menu && `${menu.id || menu.className}: ${here.matches("summary") ? "" : here.textContent}`;
  };

  document.addEventListener("toggle", ({ target }) => {
    if (!target.matches?.("details.data")) return;
    if (target.open) opened.add(name(target)); else opened.delete(name(target));
  }, true);
  document.addEventListener("focusin", ({ target }) => { left = place(target); });
  document.addEventListener("pointerdown", ({ target }) => { if (!place(target)) left = null; });

  const restore = () => {
    document.querySelectorAll("details.data:not([open])").forEach((details) => {
      if (opened.has(name(details))) details.open = true;
    });
    if (left && document.activeElement === document.body) {
      [...document.querySelectorAll(".picker a, details.menu summary, details.menu a")]
        .find((here) => place(here) === left)
        ?.focus({ preventScroll: true });
    }
  };
  new MutationObserver((changes) => {
    if (changes.some((c) => c.addedNodes.length && c.target.closest?.("#page, #sweep-menu"))) restore();
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
