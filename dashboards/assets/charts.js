/* plotly.js, most of what a page loads, is fetched from the page's head, beside all else. Dash would fetch it
   again if it looked for it before it has arrived, so Dash finds a promise to wait for. */
(() => {
  const script = document.getElementById("plotly-script");
  if (window.Plotly || !script) return;
  window.Plotly = new Promise((resolve, reject) => {
    const failed = () => reject(new Error("plotly.js did not load"));
    const again = () => {
      const second = document.createElement("script");
      second.src = script.src;
      second.addEventListener("load", () => resolve());
      second.addEventListener("error", failed);
      document.body.append(second);
    };
    script.addEventListener("load", () => resolve());
    script.addEventListener("error", again);
    setTimeout(failed, 60_000); // an error before this script ran has no listener
  });
})();
