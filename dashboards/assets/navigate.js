/* A menu that closes leaves the keyboard on its summary, not nowhere. */
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
  // Of sweeps one is chosen; columns are shown and hidden one after the other.
  const menu = link.closest("details.menu:not(.column-menu)");
  if (menu) closeMenu(menu);
  if (link.href === window.location.href) return;
  const moved = link.pathname !== window.location.pathname;
  // A path set again, even to itself, would put the whole page in place anew.
  const there = moved ? { pathname: link.pathname, search: link.search } : { search: link.search };
  window.dash_clientside.set_props("url", there);
  if (moved) {
    window.scrollTo(0, 0);
    document.getElementById("main")?.focus({ preventScroll: true });
  }
});

/* A menu closes on Escape and on a press elsewhere, where the keyboard then goes too. */
const openMenus = () => [...document.querySelectorAll("details.menu[open]")];
document.addEventListener("keydown", (event) => event.key === "Escape" && openMenus().forEach(closeMenu));
document.addEventListener("pointerdown", ({ target }) => {
  openMenus().filter((menu) => !menu.contains(target)).forEach((menu) => menu.removeAttribute("open"));
});
