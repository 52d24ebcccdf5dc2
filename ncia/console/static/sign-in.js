// Trades the code behind `#` for a session. The code is not part of what a browser sends, logs or tells other pages, and
// it is taken off the address at once.
"use strict";

async function signIn() {
  const code = location.hash.slice(1);
  if (!code) return;
  history.replaceState(null, "", location.pathname);
  const answer = await fetch("/v1/sign-in/exchange", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ code }),
  });
  if (answer.ok) {
    location.replace("/");
    return;
  }
  const problem = await answer.json();
  document.getElementById("headline").textContent = "Not signed in";
  document.getElementById("said").textContent = `${problem.detail}. Try: ${problem.hint}`;
}

addEventListener("hashchange", signIn); // an address pasted into a page that is open already
signIn();
