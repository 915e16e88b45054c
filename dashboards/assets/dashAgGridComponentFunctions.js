/* Cells of the trials grid that are more than a text. */
const dagcomponentfuncs = (window.dashAgGridComponentFunctions =
  window.dashAgGridComponentFunctions || {});

/* The number of a trial is a link to it: it opens in a new tab, and can be copied. The rest of the
   address may have changed since it was drawn, so it is read anew before it is followed. */
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
    // No stop of Tab's: arrows lead to its cell, and Enter there follows it (trials.js).
    { className: "go", href: there(), tabIndex: -1, onPointerDown: renew, onFocus: renew },
    String(props.value),
  );
};
