"use strict";
// Choose a length; sort by any column. Empty cells stay last.
(() => {
  const chooser = document.getElementById("board-length");
  if (chooser) {
    chooser.addEventListener("input", () => {
      for (const section of document.querySelectorAll("section[data-length]")) section.hidden = section.dataset.length !== chooser.value;
    });
  }
  for (const table of document.querySelectorAll("table.board")) {
    const heads = [...table.querySelectorAll("thead th")];
    heads.forEach((head, at) => head.querySelector("button").addEventListener("click", () => {
      const first = at < 2 ? "ascending" : "descending";
      const order = head.getAttribute("aria-sort") === first ? (first === "ascending" ? "descending" : "ascending") : first;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.children[at].dataset.sort;
      const compare = (a, b) => {
        const [one, two] = [key(a), key(b)];
        if (one === "" || two === "") return (one === "") - (two === "");
        return sign * (at === 1 ? one.localeCompare(two) : Number(one) - Number(two));
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    }));
  }
})();
