// Uploads that go on: the protocol tus 1.0 in pieces. The URL of an upload is kept by this browser.
const LONGEST_PAUSE_SECONDS = 30;
const drop = document.getElementById("drop");
const input = document.getElementById("files");
const going = document.getElementById("going");
const TUS = { "Tus-Resumable": "1.0.0" };
const waiting = [];
let busy = false;

const keyOf = file => `vsr-upload ${file.name} ${file.size} ${file.lastModified}`;
const pause = seconds => new Promise(done => setTimeout(done, seconds * 1000));
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const size = bytes => bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.ceil(bytes / 1e3)} kB`;

class Refused extends Error {}

async function begin(file) {
  const known = localStorage.getItem(keyOf(file));
  if (known) {
    const reply = await fetch(known, { method: "HEAD", headers: TUS });
    if (reply.ok) return [known, Number(reply.headers.get("Upload-Offset"))];
    localStorage.removeItem(keyOf(file));
  }
  const name = btoa(String.fromCharCode(...new TextEncoder().encode(file.name)));
  const headers = { ...TUS, "Upload-Length": String(file.size), "Upload-Metadata": `filename ${name}` };
  const reply = await fetch(drop.dataset.uploads, { method: "POST", headers });
  if (!reply.ok) throw new Refused(await reply.text());
  const url = reply.headers.get("Location");
  localStorage.setItem(keyOf(file), url);
  return [url, 0];
}

function send(url, file, offset, onProgress) {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    request.open("PATCH", url);
    request.setRequestHeader("Tus-Resumable", "1.0.0");
    request.setRequestHeader("Upload-Offset", String(offset));
    request.setRequestHeader("Content-Type", "application/offset+octet-stream");
    request.upload.addEventListener("progress", event => onProgress(offset + event.loaded));
    request.addEventListener("load", () => {
      if (request.status === 204) done(Number(request.getResponseHeader("Upload-Offset")));
      else if ([413, 507, 401, 403].includes(request.status)) fail(new Refused(request.responseText));
      else fail(new Error(request.responseText));
    });
    request.addEventListener("error", () => fail(new Error("connection")));
    request.send(file.slice(offset, offset + Number(drop.dataset.piece)));
  });
}

async function upload(file, row) {
  const show = offset => {
    row.bar.value = offset;
    row.text.textContent = fill(drop.dataset.arrived, { done: size(offset), total: size(file.size) });
  };
  for (let failures = 0; ;) {
    try {
      let [url, offset] = await begin(file);
      show(offset);
      while (offset < file.size) {
        offset = await send(url, file, offset, show);
        show(offset);
        failures = 0;
      }
      localStorage.removeItem(keyOf(file));
      row.text.textContent = drop.dataset.ready;
      return;
    } catch (error) {
      if (error instanceof Refused) throw error;
      row.text.textContent = drop.dataset.paused;
      await pause(Math.min(LONGEST_PAUSE_SECONDS, 2 ** failures++ / 2));
    }
  }
}

function rowFor(file) {
  const item = document.createElement("li");
  const name = document.createElement("bdi");
  const bar = document.createElement("progress");
  const text = document.createElement("span");
  name.textContent = file.name;
  text.className = "soft";
  bar.max = file.size || 1;
  bar.value = 0;
  bar.setAttribute("aria-label", fill(drop.dataset.progress, { name: file.name }));
  item.append(name, " ", text, bar);
  going.append(item);
  return { item, bar, text };
}

async function work() {
  if (busy) return;
  busy = true;
  let arrived = false;
  for (let next; (next = waiting.shift());) {
    try {
      await upload(next.file, next.row);
      arrived = true;
    } catch (error) {
      next.row.text.textContent = error.message;
      next.row.text.className = "reason";
      next.row.bar.remove();
    }
  }
  busy = false;
  if (arrived && !going.querySelector(".reason")) location.reload();
}

function take(files) {
  for (const file of files) waiting.push({ file, row: rowFor(file) });
  work();
}

input.addEventListener("change", () => { take(input.files); input.value = ""; });
for (const name of ["dragover", "dragenter"])
  drop.addEventListener(name, event => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", event => {
  event.preventDefault();
  drop.classList.remove("over");
  take(event.dataTransfer.files);
});
addEventListener("beforeunload", event => { if (busy) event.preventDefault(); });
// What is being checked is known a moment later.
if (document.querySelector("[data-checking]")) setTimeout(() => { if (!busy) location.reload(); }, 1500);
