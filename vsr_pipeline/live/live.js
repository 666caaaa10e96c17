// Numbers of the last second below the title. Without this file, all else on the page works.
const state = document.getElementById("state");

async function tell() {
  try {
    const answer = await fetch("state.json");
    const now = await answer.json();
    state.textContent = now.paused ? "paused" : now.text || "live";
  } catch {
    state.textContent = "the program has ended";
  }
}

tell();
setInterval(tell, 1000);
