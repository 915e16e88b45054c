/* The Copy YAML button: copies the text of the file and says whether that worked. */
document.addEventListener("click", async (event) => {
  if (!event.target.closest?.("#copy-yaml")) return;
  const text = document.getElementById("yaml-text").textContent;
  const said = document.getElementById("copied");
  try {
    await navigator.clipboard.writeText(text);
    said.textContent = "Copied";
  } catch {
    said.textContent = "The browser did not allow it; select the text below";
  }
  setTimeout(() => { said.textContent = ""; }, 4000);
});
