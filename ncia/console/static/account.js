// Whose console this is, until when, and the way out. A wall screen shows whose session it lives by.
"use strict";

async function tellAccount() {
  const answer = await fetch("/v1/me");
  if (!answer.ok) return;
  const me = await answer.json();
  if (me.kind !== "session") return;
  const name = document.getElementById("account-name");
  name.textContent = `${me.name} · ${me.role}${me.agencies.length ? ` of ${me.agencies.join(", ")}` : ""}`;
  name.title = me.expires_at ? `the session ends ${me.expires_at}` : "";
  document.getElementById("account").hidden = false;
}

async function signOut() {
  const answer = await fetch("/v1/sign-out", { method: "POST" });
  if (answer.ok || answer.status === 401) {
    location.replace("/sign-in");
    return;
  }
  const problem = await answer.json();
  document.getElementById("account-name").textContent = `Not signed out: ${problem.detail}. Try: ${problem.hint}`;
}

document.getElementById("sign-out").addEventListener("click", signOut);
tellAccount();
