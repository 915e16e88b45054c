/* Number formats of the trials grid, as tracker/numbers.py writes them; absent is a dash, never 0. */
const dagfuncs = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});

dagfuncs.percent = (value) =>
  value == null ? "–" : `${(100 * value).toFixed(1)} %`.replace("-", "−");
/* A quality is a score, a share of 1, or minus a loss, a number below 0. */
dagfuncs.quality = (value) =>
  value == null || value >= 0 ? dagfuncs.percent(value) : value.toPrecision(4).replace("-", "−");
dagfuncs.share = dagfuncs.percent;
/* Filters read and write numbers in the unit of the column: 2 means 2 %. */
const typedNumber = (text) => Number.parseFloat(String(text ?? "").replace("−", "-"));
dagfuncs.percentTyped = (text) => {
  const found = typedNumber(text);
  return Number.isNaN(found) ? null : found / 100;
};
/* Of a score, 0.6 means 60 %, as on the command line; 0.6 % is written so. */
dagfuncs.shareTyped = (text) => {
  const found = typedNumber(text);
  const isShare = found > 0 && found <= 1 && !String(text).includes("%");
  return isShare ? found : dagfuncs.percentTyped(text);
};
dagfuncs.shareShown = (value) => {
  const shown = dagfuncs.percentShown(value);
  return shown != null && value > 0 && value <= 0.01 ? `${shown} %` : shown;
};
dagfuncs.percentShown = (value) => (value == null ? null : String(Number((100 * value).toFixed(6))));
dagfuncs.qualityTyped = (text) => {
  const share = dagfuncs.shareTyped(text);
  return share == null || share >= 0 ? share : 100 * share;
};
dagfuncs.qualityShown = (value) =>
  value == null || value >= 0 ? dagfuncs.shareShown(value) : String(value);
dagfuncs.count = (value) => (value == null ? "–" : value.toLocaleString("en"));
dagfuncs.plain = (value) => (value == null || value === "" ? "–" : String(value));
dagfuncs.rate = (value) => (value == null ? "–" : Number(value).toPrecision(2));
dagfuncs.seconds = (value) => (value == null ? "–" : `${value.toFixed(value < 10 ? 1 : 0)} s`);
dagfuncs.compact = (value) =>
  value == null ? "–" : value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 });
dagfuncs.bytes = (value) => {
  if (value == null) return "–";
  const step = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(1, value)) / 3)));
  return `${(value / 1000 ** step).toPrecision(3)} ${["B", "kB", "MB", "GB", "TB"][step]}`;
};
/* A trial that somebody excluded: no answer counts it. */
dagfuncs.isExcluded = (params) => params.data != null && params.data.excluded != null;
