/* Draws the charts of a report: in the system's theme on a screen, light and as wide as the paper in print. */
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const charts = [...document.querySelectorAll(".chart")];
  const config = { displayModeBar: false, responsive: true, scrollZoom: false };

  const draw = (theme, fixed) => {
    document.documentElement.dataset.theme = theme;
    charts.forEach((chart) => {
      const source = document.getElementById(`figure-${theme}-${chart.dataset.figure}`);
      const { data, layout } = JSON.parse(source.textContent);
      if (fixed) Object.assign(layout, { width: chart.clientWidth, height: chart.clientHeight, autosize: false });
      window.Plotly.react(chart, data, layout, config);
    });
  };
  const onScreen = () => {
    document.documentElement.classList.remove("printing");
    draw(dark.matches ? "dark" : "light", false);
  };

  onScreen();
  dark.addEventListener("change", onScreen);
  window.addEventListener("beforeprint", () => {
    document.documentElement.classList.add("printing"); // as wide as a sheet of paper
    draw("light", true);
  });
  window.addEventListener("afterprint", onScreen);
})();
