// What one key's tenant used of the door that this page came from. The key is in the field and nowhere else.
const at = (id) => document.getElementById(id);
const table = document.querySelector("table"), whole = new Intl.NumberFormat("en");

function made(tag, text) {
  const node = document.createElement(tag);
  node.textContent = text;
  return node;
}
function row(each) {
  const line = document.createElement("tr");
  const cells = [each.day, each.key, each.kind, each.base_model ?? "", whole.format(each.calls), whole.format(each.tokens)];
  line.append(...cells.map((cell) => made("td", cell)));
  return line;
}
function show(told) {
  at("left").replaceChildren(...told.left.flatMap(([name, words]) => [made("dt", name), made("dd", words)]));
  at("rows").replaceChildren(...told.days.map(row));
  table.hidden = !told.days.length;
  at("note").textContent = told.days.length ? "" : "Nothing was used in these days.";
}
at("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("note").textContent = "Asking ...";
  try {
    const answer = await fetch(`/usage/data?days=${encodeURIComponent(at("days").value)}`, {
      headers: { "x-api-key": at("key").value.trim() }, cache: "no-store", credentials: "omit",
    });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error);
    show(told);
  } catch (error) {
    at("left").replaceChildren();
    table.hidden = true;
    at("note").textContent = error.message;
  }
});
