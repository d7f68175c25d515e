"use strict";
// Tables: a click on a head sorts by its column, a second click turns the order round.
document.querySelectorAll("table.sortable").forEach((table) => {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const numeric = Number(x) - Number(y);
      return sign * (Number.isNaN(numeric) ? x.localeCompare(y) : numeric);
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  }));
});
// Tabs: the address names a part of the page; the tab that holds it is shown alone, and what was chosen stays behind ";".
const tabs = [...document.querySelectorAll(".tab")];
const links = [...document.querySelectorAll("nav a")];
const place = () => decodeURIComponent(location.hash.slice(1).split(";")[0]);
const go = () => {
  const target = document.getElementById(place()) ?? tabs[0];
  const tab = target?.closest(".tab") ?? tabs[0];
  tabs.forEach((other) => { other.hidden = other !== tab; });
  links.forEach((link) => {
    const id = link.hash.slice(1).split(";")[0];
    link.toggleAttribute("data-open", id === tab.id);
    if (id === target.id || id === tab.id) link.setAttribute("aria-current", id === target.id ? "location" : "true"); else link.removeAttribute("aria-current");
  });
  if (target === tab) scrollTo(0, 0); else target.scrollIntoView();
};
if (tabs.length) {
  addEventListener("hashchange", go);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (!link || link.classList.contains("skip") || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const state = location.hash.split(";").slice(1);
    const hash = [link.getAttribute("href"), ...state].join(";");
    if (hash === location.hash) go(); else location.hash = hash;
  });
  const printed = (all) => tabs.forEach((tab) => { tab.hidden = all ? false : tab.hidden; });
  addEventListener("beforeprint", () => printed(true));
  addEventListener("afterprint", go);
  go();
}
