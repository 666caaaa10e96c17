// What all pages have: they know that scripts run, and a choice of language needs no button.
document.documentElement.classList.add("js");
for (const select of document.querySelectorAll("select[data-submits]"))
  select.addEventListener("change", () => select.form.requestSubmit());
