/* A closing menu moves the keyboard focus to its summary. */
const closeMenu = (menu) => {
  const here = document.activeElement;
  const inside = menu.contains(here) || here === document.body;
  menu.removeAttribute("open");
  if (inside) menu.querySelector("summary")?.focus({ preventScroll: true });
};

/* Links within the dashboard change the address without loading the page anew. */
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a.go");
  const modified = event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
  if (!link || event.button !== 0 || modified || link.origin !== window.location.origin) return;
  event.preventDefault();
  // The menu of sweeps closes after a choice; that of columns stays open for the next one.
  const menu = link.closest("details.menu:not(.column-menu)");
  if (menu) closeMenu(menu);
  if (link.href === window.location.href) return;
  const moved = link.pathname !== window.location.pathname;
  // Setting the path, even to the same one, would render the whole page again.
  const there = moved ? { pathname: link.pathname, search: link.search } : { search: link.search };
  window.dash_clientside.set_props("url", there);
  if (moved) {
    window.scrollTo(0, 0);
    document.getElementById("main")?.focus({ preventScroll: true });
  }
});

/* A menu closes on Escape and on a press elsewhere. */
const openMenus = () => [...document.querySelectorAll("details.menu[open]")];
document.addEventListener("keydown", (event) => event.key === "Escape" && openMenus().forEach(closeMenu));
document.addEventListener("pointerdown", ({ target }) => {
  openMenus().filter((menu) => !menu.contains(target)).forEach((menu) => menu.removeAttribute("open"));
});
