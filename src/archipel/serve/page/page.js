// A chat with the server that this page came from, and with nobody else. What is said stays in this browser.
const at = (id) => document.getElementById(id);
const STORE = "archipel-conversations", THEME = "archipel-theme", KEY = "archipel-key", MOST = 50;
const templates = new Map();
let conversations = read(), current = null, going = null;

function read() {
  try { const found = JSON.parse(localStorage.getItem(STORE)); return Array.isArray(found) ? found : []; }
  catch { return []; }
}
function keep() {
  conversations = conversations.filter((each) => each.turns.length || each === current).slice(0, MOST);
  try { localStorage.setItem(STORE, JSON.stringify(conversations)); }
  catch { say("This browser keeps no more conversations; delete some."); }
}
function say(text) { at("note").textContent = text; }
function made(tag, text, classes) {
  const node = document.createElement(tag);
  node.textContent = text;
  if (classes) node.className = classes;
  return node;
}
function headers() {
  const key = sessionStorage.getItem(KEY);
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
}
async function asked(path, options) {
  const answer = await fetch(path, { headers: headers(), ...options });
  if (answer.status === 401) {
    const key = prompt("The API key of this server:");
    if (key) { sessionStorage.setItem(KEY, key.trim()); return asked(path, options); }
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => null);
    throw new Error(told?.error?.message ?? `the server answered ${answer.status}`);
  }
  return answer;
}
async function takesMessages(model) {
  if (!templates.has(model)) {
    const shown = await asked("/api/show", { method: "POST", body: JSON.stringify({ model }) });
    templates.set(model, Boolean((await shown.json()).template));
  }
  return templates.get(model);
}
function begin() {
  current = { turns: [], at: Date.now() };
  conversations.unshift(current);
  draw();
  at("text").focus();
}
function draw() {
  at("list").replaceChildren(...conversations.map((each) => {
    const row = made("li", "");
    row.setAttribute("aria-current", String(each === current));
    const open = made("button", each.turns[0]?.content ?? "New conversation");
    open.addEventListener("click", () => { halt(); current = each; document.body.classList.remove("open"); draw(); });
    const drop = made("button", "×");
    drop.setAttribute("aria-label", "Delete");
    drop.addEventListener("click", () => {
      if (each === current) { halt(); current = null; }
      conversations = conversations.filter((other) => other !== each);
      if (!current) begin();
      keep(); draw();
    });
    row.append(open, drop);
    return row;
  }));
  at("turns").replaceChildren(...current.turns.map((each) => made("div", each.content, `turn ${each.role}`)));
  at("turns").scrollTop = at("turns").scrollHeight;
}
function halt() { going?.abort(); }

async function send(text) {
  const own = current, stop = new AbortController();
  own.turns.push({ role: "user", content: text });
  draw(); keep();
  const turn = { role: "assistant", content: "" }, shown = made("div", "", "turn assistant going");
  at("turns").append(shown);
  going = stop;
  at("send").hidden = true; at("stop").hidden = false; say("");
  const began = performance.now();
  let pieces = 0, ended = "";
  try {
    const model = at("model").value, isChat = await takesMessages(model);
    const body = { model, stream: true, temperature: 0.7, ...(isChat ? { messages: own.turns } : { prompt: text }) };
    const path = isChat ? "/v1/chat/completions" : "/v1/completions";
    const answer = await asked(path, { method: "POST", body: JSON.stringify(body), signal: stop.signal });
    for await (const told of events(answer.body)) {
      if (told.error) throw new Error(told.error.message);
      ended = told.choices?.[0]?.finish_reason ?? ended;
      const piece = told.choices?.[0]?.delta?.content ?? told.choices?.[0]?.text;
      if (!piece) continue;
      turn.content += piece; pieces += 1;
      shown.textContent = turn.content;
      const box = at("turns");
      if (box.scrollHeight - box.scrollTop - box.clientHeight < 80) box.scrollTop = box.scrollHeight;
    }
    const rate = (1000 * pieces / (performance.now() - began)).toFixed(1);
    const cut = ended === "length" ? "It met its limit, and is not whole. " : "";
    say(`${cut}${pieces} tokens, ${rate} a second, on this server alone${isChat ? "" : "; this model goes on with a text, it does not converse"}`);
  } catch (error) {
    say(error.name === "AbortError" ? "Stopped." : String(error.message ?? error));
  }
  shown.classList.remove("going");
  if (turn.content) own.turns.push(turn); else shown.remove();
  going = null;
  at("send").hidden = false; at("stop").hidden = true;
  keep();
}
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const lines = held.split("\n");
    held = lines.pop();
    for (const line of lines) if (line.startsWith("data: ") && line !== "data: [DONE]") yield JSON.parse(line.slice(6));
  }
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("text").value.trim();
  if (!text || going) return;
  at("text").value = "";
  send(text);
});
at("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); at("ask").requestSubmit(); }
});
at("stop").addEventListener("click", halt);
at("new").addEventListener("click", () => { halt(); document.body.classList.remove("open"); begin(); });
at("menu").addEventListener("click", () => {
  at("menu").setAttribute("aria-expanded", String(document.body.classList.toggle("open")));
});
document.querySelector("main").addEventListener("click", (event) => {
  if (!at("menu").contains(event.target)) document.body.classList.remove("open");
});
at("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  show(now === "dark" ? "light" : "dark");
});
function show(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem(THEME, theme);
}
addEventListener("pagehide", halt);

if (localStorage.getItem(THEME)) show(localStorage.getItem(THEME));
try {
  const { data } = await (await asked("/v1/models")).json();
  at("model").replaceChildren(...data.map((each) => made("option", each.id)));
} catch (error) { say(String(error.message ?? error)); }
if (conversations.length) { current = conversations[0]; draw(); } else begin();
