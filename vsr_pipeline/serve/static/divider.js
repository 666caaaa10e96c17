// Before and after with a divider, for pictures and for two videos that play in step.
const DRIFT_SECONDS = 0.06;

for (const pair of document.querySelectorAll(".pair")) {
  pair.style.setProperty("--shape", pair.dataset.shape);
  const slider = pair.querySelector("input");
  const move = () => pair.style.setProperty("--at", `${slider.value}%`);
  slider?.addEventListener("input", move);
  const [after, before] = pair.querySelectorAll("video");
  if (before) inStep(pair, after, before);
}

function inStep(pair, leader, follower) {
  const button = document.getElementById("play");
  leader.controls = follower.controls = false;
  leader.loop = true;
  const show = () => { button.textContent = leader.paused ? pair.dataset.play : pair.dataset.pause; };
  const align = () => {
    if (Math.abs(follower.currentTime - leader.currentTime) > DRIFT_SECONDS) follower.currentTime = leader.currentTime;
  };
  button.addEventListener("click", () => leader.paused ? leader.play() : leader.pause());
  leader.addEventListener("play", () => { align(); follower.play().catch(() => {}); show(); });
  leader.addEventListener("pause", () => { follower.pause(); align(); show(); });
  leader.addEventListener("seeked", align);
  leader.addEventListener("timeupdate", align);
  follower.addEventListener("error", () => pair.classList.add("alone"));
}
