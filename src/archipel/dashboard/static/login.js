// Logs a browser in by the token behind `#`, sends clicks, and shows the page anew. No markup is made from strings.
"use strict";
(() => {
  const EVERY_MS = 2000;
  const say = (id, text) => { const at = document.getElementById(id); if (at) at.textContent = text; };
  const send = (path, body) => fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body), credentials: "same-origin", cache: "no-store",
  });
  const why = async (answer) => {
    try { return (await answer.json()).detail; } catch { return `the lab answered ${answer.status}`; }
  };

  const login = async () => {
    const token = location.hash.slice(1);
    if (!token || !document.getElementById("login-said")) return;
    history.replaceState(null, "", location.pathname);
    say("login-said", "Logging in ...");
    const answer = await send("/pages/login/token", { secret: token });
    if (answer.ok) location.replace("/pages/me");
    else say("login-said", await why(answer));
  };

  const anew = async () => {
    const answer = await fetch("/pages/me", { credentials: "same-origin", cache: "no-store" });
    if (!answer.ok || answer.redirected) { location.replace("/pages/login"); return; }
    // The document is parsed without running anything, and only its own nodes are taken over.
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(old.id);
      if (!fresh || fresh.isEqualNode(old)) continue;
      const held = document.activeElement, at = held && old.contains(held) ? held.dataset : null;
      const next = document.importNode(fresh, true);
      old.replaceWith(next);
      const again = at && at.act && [...next.querySelectorAll("button")].find(
        (each) => each.dataset.node === at.node);
      if (again) again.focus();
    }
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if ("logout" in button.dataset) {
      await send("/pages/logout", {});
      location.replace("/pages/login");
    } else if (button.dataset.act) {
      const answer = await send("/pages/me/wish", { act: button.dataset.act, node: button.dataset.node });
      say("me-said", answer.ok ? "Look at your terminal: it shows what it signs." : await why(answer));
      await anew();
    }
  });

  login();
  addEventListener("hashchange", login);
  if (document.getElementById("me-machines")) setInterval(() => { if (!document.hidden) anew().catch(() => {}); }, EVERY_MS);
})();
