// What the page does by itself: it goes on, it changes without being loaded anew, it shows records. Without it every
// form and every link works as it is.
"use strict";

const byId = (id) => document.getElementById(id);
const MAX_LINES = 300;
let source = null;
let plotted = new URLSearchParams(location.search).get("plot") || "";
let isPaused = false;

// Put new markup into an element; whoever had the focus in it has it again, and what was scrolled stays there.
function put(element, markup) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const index = focused && !focused.id ? [...element.querySelectorAll("[tabindex]")].indexOf(focused) : -1;
  const scrolled = [...element.querySelectorAll(".wide")].map((each) => each.scrollLeft);
  element.innerHTML = markup;
  element.querySelectorAll(".wide").forEach((each, i) => { each.scrollLeft = scrolled[i] || 0; });
  const again = focused && (focused.id ? byId(focused.id) : element.querySelectorAll("[tabindex]")[index]);
  if (again) again.focus({ preventScroll: true });
}

function show(sections) {
  for (const [name, markup] of Object.entries(sections)) {
    const element = byId(`${name}-now`);
    if (element) put(element, markup);
  }
  const head = document.querySelector("[data-title]");
  if (head) document.title = head.dataset.title;
  say("live");
}

function say(word) {
  const element = byId("live");
  element.className = word;
  if (element.textContent !== word) element.textContent = word;
}

function list(records) {
  if (isPaused) return;
  const lines = byId("lines");
  const isAtEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 40;
  lines.insertAdjacentHTML("beforeend", records.lines);
  if (records.skipped) {
    const more = document.createElement("li");
    more.className = "more";
    more.textContent = `${records.skipped.toLocaleString("en")} more passed by`;
    lines.append(more);
  }
  while (lines.children.length > MAX_LINES) lines.firstElementChild.remove();
  if (isAtEnd) lines.scrollTop = lines.scrollHeight;
}

// One connection for everything: a browser opens six to one place, and there may be many tabs.
function open() {
  close();
  if (document.hidden) return;
  const form = new FormData(byId("logform"));
  const query = new URLSearchParams({ plot: plotted, path: form.get("path"), contains: form.get("contains") });
  source = new EventSource(`live?${query}`);
  source.addEventListener("sections", (event) => show(JSON.parse(event.data)));
  source.addEventListener("records", (event) => list(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    say("not connected");
    if (source && source.readyState === EventSource.CLOSED) setTimeout(again, 5000);
  });
}

// Refused: the session has ended, which the page itself can tell, or there are too many.
async function again() {
  const answer = await fetch("./", { redirect: "manual" }).catch(() => null);
  if (answer && answer.type === "opaqueredirect") location.reload();
  else open();
}

function close() {
  if (source) source.close();
  source = null;
}

// Send a form and take over what the page says afterwards.
async function change(form, submitter) {
  const body = new URLSearchParams(new FormData(form, submitter));
  const note = byId("note");
  if (submitter) submitter.disabled = true;
  try {
    const answer = await fetch(form.action, { method: "POST", body });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!page.getElementById("note")) { location.reload(); return; }
    put(note, page.getElementById("note").innerHTML);
    page.querySelectorAll("[id$=-now]").forEach((each) => put(byId(each.id), each.innerHTML));
    if (form.id !== "act" && !note.querySelector(".bad")) form.reset();
    note.scrollIntoView({ block: "nearest" });
  } catch (error) {
    note.textContent = `not done: ${error.message}`;
  } finally {
    if (submitter) submitter.disabled = false;
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.change !== undefined) {
    event.preventDefault();
    const question = event.submitter && event.submitter.dataset.ask;
    if (!question || confirm(question)) change(form, event.submitter);
  } else if (form.id === "logform") {
    event.preventDefault();
    byId("lines").replaceChildren();
    open();
  } else if (form.method === "get") {
    form.querySelectorAll("input").forEach((each) => { each.disabled = !each.value; });
    setTimeout(() => form.querySelectorAll("input").forEach((each) => { each.disabled = false; }));
  }
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-plot]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  plotted = link.dataset.plot;
  history.replaceState(null, "", `?${new URLSearchParams({ plot: plotted })}`);
  open();
});

document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
addEventListener("pagehide", close);

if (byId("logform")) {
  const pause = byId("pause");
  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", isPaused);
    pause.textContent = isPaused ? "Go on" : "Pause";
  });
  open();
}
