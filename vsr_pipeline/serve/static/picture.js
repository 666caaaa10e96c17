// A picture may be dropped; while it is enlarged, the page says so.
const form = document.getElementById("picture");
const input = form.querySelector("input[type=file]");

form.addEventListener("submit", () => {
  const button = form.querySelector("button.main");
  document.getElementById("wait").textContent = button.dataset.wait;
  setTimeout(() => { button.disabled = true; });
});
for (const name of ["dragover", "dragenter"])
  form.addEventListener(name, event => { event.preventDefault(); form.classList.add("over"); });
form.addEventListener("dragleave", () => form.classList.remove("over"));
form.addEventListener("drop", event => {
  event.preventDefault();
  form.classList.remove("over");
  input.files = event.dataTransfer.files;
  if (input.files.length) form.requestSubmit();
});
