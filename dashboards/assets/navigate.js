/* Links within the dashboard change the address without loading the page anew. */
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a.go");
  const modified = event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
  if (!link || event.button !== 0 || modified || link.origin !== window.location.origin) return;
  event.preventDefault();
  link.closest("details.menu")?.removeAttribute("open");
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

/* A menu closes on Escape and on a press elsewhere. */
const closeMenus = (except) =>
  document.querySelectorAll("details.menu[open]").forEach((menu) => {
    if (menu !== except) menu.removeAttribute("open");
  });
document.addEventListener("keydown", (event) => event.key === "Escape" && closeMenus(null));
document.addEventListener("pointerdown", (event) => closeMenus(event.target.closest?.("details.menu")));
