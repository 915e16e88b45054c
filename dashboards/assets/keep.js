/* Redrawn content is new to the browser: keep the opened tables open and the keyboard where it was. */
(() => {
  const opened = new Set();
  let left = null;

  const name = (details) => {
    const title = details.closest("section")?.getAttribute("aria-label") ?? "";
    return `${window.location.pathname} ${title} ${details.querySelector("summary")?.textContent}`;
  };
  const place = (link) => {
    const picker = link.closest(".picker");
    return picker && { picker: picker.getAttribute("aria-label"), words: link.textContent };
  };

  document.addEventListener("toggle", ({ target }) => {
    if (!target.matches?.("details.data")) return;
    if (target.open) opened.add(name(target)); else opened.delete(name(target));
  }, true);
  document.addEventListener("focusin", ({ target }) => { left = place(target); });

  const restore = () => {
    document.querySelectorAll("details.data:not([open])").forEach((details) => {
      if (opened.has(name(details))) details.open = true;
    });
    if (left && document.activeElement === document.body) {
      [...document.querySelectorAll(".picker a")]
        .find((link) => {
          const here = place(link);
          return here && here.picker === left.picker && here.words === left.words;
        })
        ?.focus({ preventScroll: true });
    }
  };
  new MutationObserver((changes) => {
    if (changes.some((c) => c.addedNodes.length && c.target.closest?.("#page"))) restore();
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
