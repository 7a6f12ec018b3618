// Keeps a page fresh: what is marked data-live is fetched again, and logs grow. It writes text only, never HTML it was given as text.
"use strict";

const EVERY_MS = 2000;
const LARGEST_PART = 1024 * 1024;
const MOST_TEXT = 2 * 1024 * 1024; // of a log, kept on the page

function isFinal() {
  return document.querySelector("#state[data-final]") !== null;
}

async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const attempt = (page) => page.querySelector("[data-attempt]")?.dataset.attempt;
  if (attempt(fresh) !== attempt(document)) return location.reload(); // its logs begin anew
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(old.id);
    if (now && now.outerHTML !== old.outerHTML && !old.contains(document.activeElement)) old.replaceWith(now);
  }
}

class Log {
  constructor(pre) {
    this.pre = pre;
    this.read = Number(pre.dataset.read);
    this.decoder = new TextDecoder();
    pre.scrollTop = pre.scrollHeight;
  }

  async grow() {
    const range = `bytes=${this.read}-${this.read + LARGEST_PART - 1}`;
    const answer = await fetch(this.pre.dataset.log, { headers: { Range: range }, cache: "no-store" });
    if (answer.status !== 206) return false; // 416: nothing new
    const bytes = await answer.arrayBuffer();
    this.read += bytes.byteLength;
    const atEnd = this.pre.scrollTop + this.pre.clientHeight >= this.pre.scrollHeight - 40;
    let text = this.pre.textContent + this.decoder.decode(bytes, { stream: true });
    if (text.length > MOST_TEXT) text = text.slice(-MOST_TEXT);
    this.pre.textContent = text;
    if (text) this.pre.closest("details").open = true;
    if (atEnd) this.pre.scrollTop = this.pre.scrollHeight;
    return bytes.byteLength > 0;
  }
}

const logs = Array.from(document.querySelectorAll("pre[data-log]"), (pre) => new Log(pre));
const isLive = document.querySelector("[data-live]") !== null;

async function tick() {
  if (document.hidden) return setTimeout(tick, EVERY_MS);
  const ended = isFinal(); // before the logs: what is there after the end is all there is
  try {
    let more = false;
    for (const log of logs) more = (await log.grow()) || more;
    if (ended && !more) return;
    if (!ended) await refresh();
  } catch (error) {
    console.info("sfbatch: the server is away, trying again", error);
  }
  setTimeout(tick, EVERY_MS);
}

if (isLive && !isFinal()) setTimeout(tick, EVERY_MS / 4);
