// The queue as it is now: one stream of events while the page is looked at; it goes on where it was.
const RELOAD_MILLISECONDS = 300;
let live = document.getElementById("live");
let after = live.dataset.after;
let source = null;
let waiting = 0;

function open() {
  if (source || document.hidden) return;
  source = new EventSource(`${live.dataset.events}?after=${after}`);
  source.addEventListener("queue", event => {
    after = event.lastEventId;
    if (!waiting) waiting = setTimeout(renew, RELOAD_MILLISECONDS);
  });
  source.addEventListener("progress", event => advance(JSON.parse(event.data)));
}

function close() {
  source?.close();
  source = null;
}

async function renew() {
  waiting = 0;
  if (live.contains(document.activeElement) && document.activeElement.matches("input, select")) {
    waiting = setTimeout(renew, 2000);  // somebody types
    return;
  }
  const reply = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!reply?.ok) return;
  const fresh = new DOMParser().parseFromString(await reply.text(), "text/html").getElementById("live");
  const focused = document.activeElement?.closest("[data-clip]")?.dataset.clip;
  const action = document.activeElement?.value;
  live.replaceWith(fresh);
  live = fresh;
  if (focused) live.querySelector(`[data-clip="${focused}"] button[value="${action}"]`)?.focus();
}

let wasRunning = null;
function advance(progress) {
  if (wasRunning !== null && wasRunning !== progress.running && !waiting) waiting = setTimeout(renew, RELOAD_MILLISECONDS);
  wasRunning = progress.running;
  for (const clip of progress.clips) {
    const row = live.querySelector(`[data-clip="${clip.clip}"]`);
    const bar = row?.querySelector("progress");
    if (!bar) continue;
    if (clip.total) { bar.max = clip.total; bar.value = clip.done; }
    const parts = [];
    if (clip.total) parts.push(fill(live.dataset.frames, { done: clip.done, total: clip.total }));
    if (clip.per_second) parts.push(fill(live.dataset.fps, { fps: clip.per_second.toFixed(2) }));
    if (clip.left_seconds !== null) parts.push(fill(live.dataset.left, { time: clock(clip.left_seconds) }));
    row.querySelector(".figures").textContent = parts.join(" · ");
  }
}

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

function clock(seconds) {
  const whole = Math.round(seconds), two = number => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) close();
  else { renew(); open(); }
});
addEventListener("pagehide", close);
addEventListener("pageshow", open);
open();
