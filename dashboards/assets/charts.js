/* The page's head asks for plotly, most of what a page loads, so that it is read beside all else. Where Dash
   would look for it before it has come, it would fetch and run it a second time: let it find what to wait for. */
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
    setTimeout(failed, 60_000); // an error before this ran is heard of by nobody
  });
})();
