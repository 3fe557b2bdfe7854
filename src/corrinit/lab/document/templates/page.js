"use strict";

// A number as the tables write it ("−1.25 to 3.0", "71.3 ± 0.4", "< 0.001"), by its first part; else the text.
function key(cell) {
  const text = cell.textContent.trim().replace(/[−–—]/g, "-").replace(/,(?=\d{3})/g, "");
  const number = parseFloat(text.replace(/^[<>≤≥±n=\s]+/, ""));
  return Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === typeof b) return a.localeCompare(b);
  return typeof a === "number" ? -1 : 1;
}

for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    if (!header.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const descending = header.getAttribute("aria-sort") === "ascending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rows = [...body.rows].sort((a, b) => compare(key(a.cells[column]), key(b.cells[column])));
      body.append(...(descending ? rows.reverse() : rows));
    });
  });
}

for (const button of document.querySelectorAll(".copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {  // not allowed for this page: the reader copies what is selected
      getSelection().selectAllChildren(code);
    }
    button.textContent = getSelection().toString() === code.textContent ? "Selected" : "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

// A link to a folded part, in the contents or from elsewhere, opens it.
function unfold() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  const details = target && target.querySelector("details");
  if (details) details.open = true;
}
addEventListener("hashchange", unfold);
unfold();
