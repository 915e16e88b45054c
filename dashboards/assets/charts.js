/* The page's head asks for plotly, most of what a page loads, so that it is read beside all else. Where Dash
   would look for it before it has come, it would fetch and run it a second time: let it find what to wait for. */
(() => {
  const script = document.getElementById("plotly-script");
  if (window.Plotly || !script) return;
  window.Plotly = new Promise((resolve, reject) => {
    script.addEventListener("load", () => resolve());
    script.addEventListener("error", () => reject(new Error("plotly.js did not load")));
  });
})();
