/* A banner when the server no longer answers. It counts failed ticks (a request every two seconds), not
   elapsed time, as the clock of a hidden tab may stand still; and ticks alone, as an opening page sends many
   requests at once. */
(() => {
  const MISSES = 3;
  const GONE = [502, 503, 504]; // answers of a proxy whose server is down
  const ENDED = "Not updating: this browser's token is no longer valid. Open the address that the dashboard's terminal prints.";
  let misses = 0;
  let last = new Date(); // of the last answer

  const banner = document.createElement("div"); // it must exist before its text, or no screen reader reads it
  banner.className = "contact";
  banner.setAttribute("role", "status");
  banner.setAttribute("aria-live", "polite");
  document.body.append(banner);

  const since = () => {
    const today = last.toDateString() === new Date().toDateString();
    const day = today ? {} : { day: "numeric", month: "long" };
    return last.toLocaleString("en-GB", { ...day, hour: "2-digit", minute: "2-digit" });
  };
  const say = (words) => {
    if (banner.textContent !== words) banner.textContent = words; // announced once, not with every failed tick
    document.documentElement.classList.toggle("not-updating", words !== "");
  };
  const missed = () => {
    misses += 1;
    if (misses < MISSES) return;
    say(`Not updating since ${since()}: the dashboard's server does not answer. Is its terminal still open?`);
  };
  const heard = ({ status }) => {
    if (GONE.includes(status)) { missed(); return; }
    misses = 0;
    last = new Date();
    say(status === 401 ? ENDED : "");
  };

  const isTick = (address, options) =>
    String(address).includes("_dash-update-component") &&
    typeof options?.body === "string" && options.body.includes('"tick.n_intervals"');
  const ask = window.fetch;
  window.fetch = function fetch(...given) {
    const answer = ask.apply(this, given);
    if (isTick(...given)) answer.then(heard, missed);
    return answer;
  };
})();
