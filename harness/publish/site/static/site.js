// Sorting, filtering and the choice of a theme. Without this script the pages show everything all the same.
(function () {
  "use strict";

  function make(tag, attributes, text) {
    var element = document.createElement(tag);
    Object.keys(attributes).forEach(function (name) { element.setAttribute(name, attributes[name]); });
    if (text) element.textContent = text;
    return element;
  }

  // --- theme

  function darkNow() {
    var chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function addThemeSwitch() {
    var button = make("button", { type: "button", "class": "theme", "aria-label": "Dark theme" }, "Dark");
    function show() { button.setAttribute("aria-pressed", String(darkNow())); }
    button.addEventListener("click", function () {
      var theme = darkNow() ? "light" : "dark";
      document.documentElement.dataset.theme = theme;
      try { window.localStorage.setItem("harness-theme", theme); } catch (error) { /* not remembered */ }
      show();
    });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
    show();
    document.querySelector("header.top").appendChild(button);
  }

  // --- sorting

  function valueOf(cell, numeric) {
    var text = cell.dataset.value !== undefined ? cell.dataset.value : cell.textContent.trim();
    if (!numeric) return text.toLowerCase();
    return text === "" || isNaN(Number(text)) ? null : Number(text);
  }

  // What is not known stands last, whichever way the others are sorted.
  function compare(left, right, sign) {
    if (left === null || right === null) return (left === null) - (right === null);
    return left < right ? -sign : left > right ? sign : 0;
  }

  function sortRows(table, header) {
    var headers = Array.prototype.slice.call(header.parentNode.children);
    var column = headers.indexOf(header), numeric = header.dataset.sort === "number";
    var first = header.dataset.first || "ascending", other = first === "ascending" ? "descending" : "ascending";
    var order = header.getAttribute("aria-sort") === first ? other : first, sign = order === "ascending" ? 1 : -1;
    headers.forEach(function (one) { one.removeAttribute("aria-sort"); });
    header.setAttribute("aria-sort", order);
    var body = table.tBodies[0];
    var rows = Array.prototype.slice.call(body.rows).map(function (row) {
      return { row: row, value: valueOf(row.cells[column], numeric) };
    });
    rows.sort(function (left, right) { return compare(left.value, right.value, sign); });
    rows.forEach(function (one) { body.appendChild(one.row); });
    table.classList.toggle("resorted", !(column === 0 && order === "ascending"));
  }

  function makeSortable(table) {
    table.querySelectorAll("thead th[data-sort]").forEach(function (header) {
      var button = make("button", { type: "button", "class": "sort" });
      while (header.firstChild) button.appendChild(header.firstChild);
      header.appendChild(button);
      button.addEventListener("click", function () { sortRows(table, header); });
    });
  }

  function addTileOrder(list) {
    var given = Array.prototype.slice.call(list.children);
    var button = make("button", { type: "button", "class": "order", "aria-pressed": "false" }, "Hardest first");
    button.addEventListener("click", function () {
      var hardest = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(hardest));
      var items = given.slice();
      if (hardest) items.sort(function (left, right) { return right.dataset.value - left.dataset.value; });
      items.forEach(function (item) { list.appendChild(item); });
    });
    list.parentNode.insertBefore(button, list);
  }

  // --- filtering

  var FEWEST = 6;

  // Of a row its names and words: a number would match nearly everything.
  function wordsOf(item) {
    var cells = item.cells ? item.querySelectorAll("th, .text, .opponent") : [item];
    return Array.prototype.map.call(cells, function (cell) { return cell.textContent; }).join(" ").toLowerCase();
  }

  function makeFilterable(block, number) {
    var items = Array.prototype.slice.call(block.tBodies ? block.tBodies[0].rows : block.children);
    if (items.length < FEWEST) return;
    var id = "filter-" + number;
    var row = make("div", { "class": "filter", role: "search", "aria-label": "Filter " + block.dataset.filter + " " + number });
    var label = make("label", { "for": id }, "Filter " + block.dataset.filter);
    var input = make("input", { type: "search", id: id, autocomplete: "off", spellcheck: "false" });
    var count = make("output", { "for": id, "aria-live": "polite" });
    function apply() {
      var words = input.value.toLowerCase().split(/\s+/).filter(Boolean), shown = 0;
      items.forEach(function (item) {
        var text = wordsOf(item);
        item.hidden = !words.every(function (word) { return text.indexOf(word) >= 0; });
        if (!item.hidden) shown += 1;
      });
      count.textContent = words.length ? shown + " of " + items.length : "";
    }
    input.addEventListener("input", apply);
    window.addEventListener("hashchange", function () {
      var target = document.getElementById(decodeURIComponent(window.location.hash.slice(1)));
      if (!target || !block.contains(target) || !target.hidden) return;
      input.value = "";
      apply();
      target.scrollIntoView();
    });
    [label, input, count].forEach(function (part) { row.appendChild(part); });
    var before = block.closest(".scroll") || block;
    before.parentNode.insertBefore(row, before);
  }

  addThemeSwitch();
  document.querySelectorAll("table[data-sortable]").forEach(makeSortable);
  document.querySelectorAll("[data-sort-tiles]").forEach(addTileOrder);
  document.querySelectorAll("[data-filter]").forEach(makeFilterable);
})();
