/* Cell renderers of the trials grid. */
const dagcomponentfuncs = (window.dashAgGridComponentFunctions =
  window.dashAgGridComponentFunctions || {});

/* The number of a trial as a link, which opens in a new tab and can be copied. The rest of the address may
   have changed since the cell was rendered, so the link is renewed before it is followed. */
dagcomponentfuncs.TrialLink = (props) => {
  if (props.value == null) return "";
  const there = () => {
    const query = new URLSearchParams(window.location.search);
    query.set("trial", String(props.value));
    return `${window.location.pathname}?${query}`;
  };
  const renew = (event) => { event.currentTarget.href = there(); };
  return window.React.createElement(
    "a",
    // Not in Tab's order: arrows lead to its cell, and Enter there follows it (trials.js).
    { className: "go", href: there(), tabIndex: -1, onPointerDown: renew, onFocus: renew },
    String(props.value),
  );
};
