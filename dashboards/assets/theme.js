/* Light or dark theme: the reader's choice if there is one, otherwise the system's. */
(() => {
  const KEY = "sft-select.theme";
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const kept = () => {
    try { return window.localStorage.getItem(KEY); } catch { return null; }
  };
  let choice = kept();
  const current = () =>
    choice === "light" || choice === "dark" ? choice : system.matches ? "dark" : "light";
  const apply = () => {
    document.documentElement.dataset.theme = current();
    return current();
  };

  apply();
  system.addEventListener("change", () => {
    window.dash_clientside.set_props("theme", { data: apply() });
  });

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    sft: {
      /* Runs once on load (no clicks yet) and again on every press of the button. */
      theme(clicks) {
        if (clicks) {
          choice = current() === "dark" ? "light" : "dark";
          try {
            window.localStorage.setItem(KEY, choice);
          } catch { /* no storage: the choice lasts as long as the page */ }
        }
        return apply();
      },
      /* Completes the address in place: a copied link then shows what is in sight. */
      address(wanted) {
        const { pathname, search } = window.location;
        if (wanted && wanted.path === pathname && wanted.from === search && wanted.to !== search) {
          window.history.replaceState(window.history.state, "", pathname + wanted.to);
          // All that the component holds: where something differed, it would push the address as a new step.
          window.dash_clientside.set_props("url", { search: wanted.to, href: window.location.href });
        }
        return window.dash_clientside.no_update;
      },
      title(text) {
        document.title = text;
        return window.dash_clientside.no_update;
      },
    },
  });
})();
